export type Theme = "system" | "light" | "dark";

const KEY = "orchestrion.theme";
const ORDER: readonly Theme[] = ["system", "light", "dark"];

/** Light or dark: as the system says until the switch says otherwise. Remembered by the browser. */
class ThemeSwitch {
  theme = $state<Theme>("system");
  #system = matchMedia("(prefers-color-scheme: dark)");
  #systemDark = $state(this.#system.matches);

  constructor() {
    const kept = localStorage.getItem(KEY) as Theme | null;
    if (kept && ORDER.includes(kept)) this.theme = kept;
    this.#system.addEventListener("change", (event) => (this.#systemDark = event.matches));
    this.#show();
  }

  get dark(): boolean {
    return this.theme === "system" ? this.#systemDark : this.theme === "dark";
  }

  next(): void {
    this.theme = ORDER[(ORDER.indexOf(this.theme) + 1) % ORDER.length] ?? "system";
    localStorage.setItem(KEY, this.theme);
    this.#show();
  }

  #show(): void {
    if (this.theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = this.theme;
  }
}

export const theme = new ThemeSwitch();
