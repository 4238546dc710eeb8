import { api, isSmall } from "../api/client";
import type { SongChanges } from "../api/types";
import { inTurn } from "../lib/turns";
import { Draft } from "./draft.svelte";
import { studio } from "./studio.svelte";
import { trouble } from "./trouble.svelte";

/**
 * What a person writes about a song. What could not be saved stays, shown when the song is opened again and tried again
 * then.
 */
export class Edits {
  readonly title = new Draft(async (text) => !text.trim() || (await this.change({ title: text })));
  readonly notes = new Draft((text) => this.change({ notes: text }));
  /** The tag that is to be added. */
  readonly tag = new Draft(async (text) => {
    const tag = text.trim();
    return !tag || (await this.retag((tags) => (tags.includes(tag) ? [...tags] : [...tags, tag])));
  });

  #inTurn = inTurn();

  constructor(private readonly song: string) {}

  /** Whether it was saved. */
  async change(changes: SongChanges): Promise<boolean> {
    return Boolean(await trouble.of(async () => studio.know(await api.change(this.song, changes))));
  }

  /** Each change of the tags is made to what became of the one before. */
  retag(changed: (tags: readonly string[]) => string[]): Promise<boolean> {
    return this.#inTurn(() => this.change({ tags: changed(studio.song(this.song)?.tags ?? []) }));
  }

  /** What is too long to be saved when the page is left is saved while it is typed. */
  note(text: string): void {
    this.notes.type(text);
    if (!isSmall({ notes: text })) void this.save("notes");
  }

  /** Save what was typed into a field, if the song is known. */
  async save(field: "title" | "notes" | "tag"): Promise<void> {
    const song = studio.song(this.song);
    if (song) await this[field].leave(field === "tag" ? "" : song[field]);
  }

  saveAll(): void {
    for (const field of ["title", "notes", "tag"] as const) void this.save(field);
  }
}

const known = new Map<string, Edits>();

/** The edits of a song, the same however often its page is opened. */
export function editsOf(song: string): Edits {
  const edits = known.get(song) ?? new Edits(song);
  known.set(song, edits);
  return edits;
}
