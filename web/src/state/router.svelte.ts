import { readRoute, writeRoute, type Route } from "../lib/route";

/** Where in the page one is. The address says it, so links, bookmarks and the back button work. */
class Router {
  route = $state.raw<Route>(readRoute(location.hash));

  constructor() {
    addEventListener("hashchange", () => (this.route = readRoute(location.hash)));
  }

  go(route: Route): void {
    location.hash = writeRoute(route);
  }

  /** Say where one is without a step in the history. */
  mark(route: Route): void {
    history.replaceState(null, "", writeRoute(route));
    this.route = route;
  }
}

export const router = new Router();
