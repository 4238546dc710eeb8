import { SvelteMap, SvelteSet } from "svelte/reactivity";
import { api, Refused } from "../api/client";
import type { Begun, Job, Model, Song, Status } from "../api/types";
import { sentence } from "../lib/sentence";
import { trouble } from "./trouble.svelte";

const AWAY =
  "The Studio does not answer. Start it again with “orchestrion studio”: this page goes on by itself.";
const AGAIN_MILLISECONDS = 3000;

/** What the service says of itself, live: its models, its jobs, and what has become of songs. */
class Studio {
  status = $state.raw<Status | null>(null);
  models = $state.raw<Model[]>([]);
  changes = $state(0);
  /**
   * How often all work was asked for that may have been missed, and is known now: at the start, and after nothing was
   * heard for a while.
   */
  caughtUp = $state(0);
  #away = $state("");
  #events: EventSource | null = null;
  #again: ReturnType<typeof setTimeout> | undefined;
  #caughtUp = false;
  /** The jobs that events and answers told of while all were asked for: those are newer. */
  #toldOf = new Set<string>();
  #jobs = new SvelteMap<string, Job>();
  #songs = new SvelteMap<string, Song>();
  #gone = new SvelteSet<string>();

  /** The model that composes unless another is asked for; null while it is not known. */
  get model(): Model | null {
    return this.modelCalled(this.status?.model.name ?? "");
  }

  modelCalled(name: string): Model | null {
    return this.models.find((one) => one.name === name) ?? null;
  }

  /** What a person should know before anything can be made; empty if nothing. */
  get note(): string {
    const model = this.status?.model;
    if (this.#away) return this.#away;
    if (model?.state === "loading")
      return `The model ${model.name} is being opened. You can ask for music already.`;
    return model?.state === "failed" ? `The model ${model.name} cannot be used: ${model.problem}` : "";
  }

  get jobs(): Job[] {
    return [...this.#jobs.values()].sort((one, other) => one.created - other.created);
  }

  get active(): Job[] {
    return this.jobs.filter((job) => job.state === "queued" || job.state === "running");
  }

  /** The latest that was told of a song, null if nothing was. */
  song(id: string): Song | null {
    return this.#songs.get(id) ?? null;
  }

  /** A song as an answer or an event of the service shows it; the newest that was told. */
  know(song: Song): Song {
    const known = this.#songs.get(song.id);
    if (known && known.revision > song.revision) return known; // an event that was on its way before an answer
    this.#songs.set(song.id, song);
    this.#gone.delete(song.id);
    this.changes++;
    return song;
  }

  /** What was asked for, as the service took it; events may have told more of it already. */
  begun({ song, job }: Begun): Begun {
    this.#toldOf.add(job.id);
    if (!this.#jobs.has(job.id)) this.#jobs.set(job.id, job);
    this.know(song);
    return { song, job };
  }

  forget(song: string): void {
    this.#songs.delete(song);
    this.#gone.add(song);
    this.changes++;
  }

  /** Whether a song was deleted, here or in another window. */
  isGone(song: string): boolean {
    return this.#gone.has(song);
  }

  /**
   * Listen until the returned function is called, while the page is seen: browsers keep six connections to a service
   * for all their windows together, and a hidden one needs none.
   */
  connect(): () => void {
    const look = (): void => (document.hidden ? this.#rest() : this.#listen());
    document.addEventListener("visibilitychange", look);
    look();
    return () => {
      document.removeEventListener("visibilitychange", look);
      this.#rest();
    };
  }

  #rest(): void {
    clearTimeout(this.#again);
    this.#events?.close();
    this.#events = null;
  }

  #listen(): void {
    this.#rest();
    const events = (this.#events = new EventSource(api.eventsUrl));
    const on = <T>(name: string, then: (told: T) => void): void =>
      events.addEventListener(name, (event) => then(JSON.parse((event as MessageEvent<string>).data) as T));
    on<Status>("status", (status) => void trouble.quietly(() => this.#ready(status)));
    on<Job>("job", (job) => void trouble.quietly(() => this.#told(job)));
    on<Song>("song", (song) => this.know(song));
    on<{ id: string }>("gone", ({ id }) => this.forget(id));
    events.addEventListener("open", () => {
      this.#away = "";
      this.#caughtUp = false;
    });
    events.addEventListener("error", () => void this.#failed(events));
  }

  /** What broke off the browser takes up again by itself; what was refused it does not. */
  async #failed(events: EventSource): Promise<void> {
    this.#away ||= AWAY;
    if (events.readyState !== EventSource.CLOSED) return;
    let said = AWAY;
    try {
      await api.status();
    } catch (error) {
      if (error instanceof Refused && error.status)
        said = `${sentence(error.problem)} ${sentence(error.hint)}`;
    }
    if (this.#events !== events) return;
    this.#away = said;
    this.#again = setTimeout(() => this.#listen(), AGAIN_MILLISECONDS);
  }

  async #ready(status: Status): Promise<void> {
    if (status.indexed && !this.status?.indexed) this.changes++;
    this.status = status;
    const models = await api.models();
    if (models.length) this.models = models; // none are known while the service looks for them
    if (this.#caughtUp) return;
    this.#caughtUp = true;
    this.#toldOf.clear();
    const jobs = await api.jobs();
    const there = new Set([...this.#toldOf, ...jobs.map((job) => job.id)]);
    for (const { id } of this.active) if (!there.has(id)) this.#jobs.delete(id);
    for (const job of jobs) if (!this.#toldOf.has(job.id)) this.#jobs.set(job.id, job);
    this.caughtUp++;
    this.changes++;
    // What became of songs while nothing was heard of the service.
    for (const id of [...this.#songs.keys()]) {
      try {
        this.know(await api.song(id));
      } catch (error) {
        if (!(error instanceof Refused && error.status === 404)) throw error;
        this.forget(id);
      }
    }
  }

  async #told(job: Job): Promise<void> {
    this.#toldOf.add(job.id);
    this.#jobs.set(job.id, job);
    if (job.song && !this.#songs.has(job.song) && !this.#gone.has(job.song))
      this.know(await api.song(job.song));
  }
}

export const studio = new Studio();
