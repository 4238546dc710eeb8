import { Refused } from "../api/client";

/** What went wrong with something that a person asked for, in words, until it is dismissed or something works. */
class Trouble {
  problem = $state("");
  hint = $state("");

  /** Do something; where it fails, show why and give null. */
  async of<T>(act: () => Promise<T>): Promise<T | null> {
    try {
      const made = await act();
      this.clear();
      return made;
    } catch (error) {
      this.show(error);
      return null;
    }
  }

  /** As `of`, of what the page does by itself: what a person was told before stays. */
  async quietly(act: () => Promise<unknown>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.show(error);
    }
  }

  show(error: unknown): void {
    if (error instanceof Refused) {
      this.problem = error.problem;
      this.hint = error.hint;
    } else {
      this.problem = "Something in this page went wrong.";
      this.hint = `Load it again; if it stays, report this: ${String(error)}`;
      console.error(error);
    }
  }

  clear(): void {
    this.problem = this.hint = "";
  }
}

export const trouble = new Trouble();
