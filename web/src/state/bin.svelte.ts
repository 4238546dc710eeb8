import { api } from "../api/client";
import type { BinnedSong, Song } from "../api/types";
import { deck } from "./deck.svelte";
import { studio } from "./studio.svelte";
import { trouble } from "./trouble.svelte";

/** Where deleted songs are until they are taken back, or deleted for good. */
class Bin {
  /** What was deleted in this window last, until it is taken back or dismissed. */
  latest = $state.raw<BinnedSong | null>(null);

  /** Delete a song; whether it was. */
  async put({ id, title }: BinnedSong): Promise<boolean> {
    if (!(await done(api.remove(id)))) return false;
    if (deck.sound?.song === id) deck.stop();
    studio.forget(id);
    this.latest = { id, title };
    return true;
  }

  /** See whether what was deleted last is still in the bin. */
  async lookAgain(): Promise<void> {
    const looked = this.latest;
    if (!looked) return;
    const songs = await api.bin();
    if (!songs.some((song) => song.id === looked.id)) this.#settled(looked.id);
  }

  async takeBack({ id }: BinnedSong): Promise<Song | null> {
    const song = await trouble.of(() => api.restore(id));
    if (song) this.#settled(id);
    return song && studio.know(song);
  }

  async discard({ id }: BinnedSong): Promise<boolean> {
    if (!(await done(api.discard(id)))) return false;
    this.#settled(id);
    return true;
  }

  #settled(id: string): void {
    if (this.latest?.id === id) this.latest = null;
  }
}

async function done(asking: Promise<unknown>): Promise<boolean> {
  return Boolean(
    await trouble.of(async () => {
      await asking;
      return true;
    }),
  );
}

export const bin = new Bin();
