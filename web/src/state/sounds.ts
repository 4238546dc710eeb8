import { api } from "../api/client";
import type { SongCard } from "../api/types";
import { writeRoute } from "../lib/route";
import type { Sound } from "./deck.svelte";

/** A take of a song at a level, as the player takes it. */
export function soundOf(
  song: Pick<SongCard, "id" | "title">,
  take: string,
  level: number,
  seconds: number,
  about = "",
): Sound {
  return {
    key: `${song.id}/${take}/${level}`,
    url: api.audioUrl(song.id, take, level),
    seconds,
    song: song.id,
    title: song.title,
    about,
    href: writeRoute({ page: "song", song: song.id, take }),
  };
}
