/** A place in the page; the address after `#`. */
export type Route =
  | { page: "compose"; ask: Record<string, string> }
  | { page: "library" }
  | { page: "map" }
  | { page: "song"; song: string; take: string | null };

export function readRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [page, ...names] = path.split("/").map(decoded);
  if (page === "library" || page === "map") return { page };
  if (page === "song" && names[0]) return { page: "song", song: names[0], take: names[1] ?? null };
  return { page: "compose", ask: Object.fromEntries(new URLSearchParams(query)) };
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return "";
  }
}

export function writeRoute(route: Route): string {
  if (route.page === "song") {
    return `#/song/${[route.song, ...(route.take ? [route.take] : [])].map(encodeURIComponent).join("/")}`;
  }
  if (route.page !== "compose") return `#/${route.page}`;
  const query = new URLSearchParams(route.ask).toString();
  return query ? `#/compose?${query}` : "#/compose";
}
