import { SvelteMap } from "svelte/reactivity";
import { api } from "../api/client";

const NONE: readonly number[] = [];

/** The peaks of takes that were looked at; they never change. */
class PeaksCache {
  #known = new SvelteMap<string, readonly number[]>();
  #asked = new Set<string>();

  /** The peaks of a take at the first of these levels whose peaks are there, none until some are. */
  first(song: string, take: string, levels: readonly number[]): readonly number[] {
    return levels.map((level) => this.of(song, take, level)).find((peaks) => peaks.length) ?? NONE;
  }

  /** The peaks of a take at a level, none until they are there. */
  of(song: string, take: string, level: number): readonly number[] {
    const key = `${song}/${take}/${level}`;
    if (!this.#known.has(key) && !this.#asked.has(key)) {
      this.#asked.add(key);
      api
        .peaks(song, take, level)
        .then((peaks) => this.#known.set(key, peaks))
        .catch(() => this.#asked.delete(key));
    }
    return this.#known.get(key) ?? NONE;
  }
}

export const peaksCache = new PeaksCache();
