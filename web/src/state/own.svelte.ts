import { api, Refused } from "../api/client";
import type { Upload } from "../api/types";
import { peaksOf } from "../lib/peaks";
import { deck } from "./deck.svelte";

/** Sound that a song is to begin with, and which part of it. A change makes another object. */
export interface OwnSound {
  file: Blob;
  name: string;
  url: string;
  seconds: number;
  peaks: readonly number[];
  /** Whether it is a recording that the page alone has. */
  unsent: boolean;
  span: { start: number; stop: number };
}

const MOST_SECONDS = 30;
const RATE = 22_050;
/** In letters, as the service takes it. */
const LONGEST_NAME = 200;

/**
 * Sound of one's own, from a file or the microphone: it stays, and is recorded on, while one looks at other pages.
 * Of what was wished for the latest counts, however long that before it takes.
 */
class Own {
  sound = $state.raw<OwnSound | null>(null);
  recorder = $state.raw<MediaRecorder | null>(null);
  /** Whether the microphone is being asked for, which may wait for the person. */
  asking = $state(false);
  /** Whether a sound is being read, which takes a while for a long one. */
  reading = $state(false);
  recorded = $state(0);
  problem = $state("");

  #wish = 0;
  #sent = new WeakMap<Blob, Promise<Upload>>();

  /** Whether a recording would be lost with the page. */
  get unsent(): boolean {
    return this.recorder !== null || this.sound?.unsent === true;
  }

  take(file: Blob, name: string): Promise<void> {
    return this.#take(file, name, false);
  }

  async #take(file: Blob, name: string, unsent: boolean): Promise<void> {
    const mine = ++this.#wish;
    this.problem = "";
    this.reading = true;
    const audio = await decoded(file);
    if (mine !== this.#wish) return;
    this.reading = false;
    if (!audio) {
      this.problem = `${name} cannot be read as sound. Take a wav, flac, mp3, ogg or m4a file.`;
      return;
    }
    this.clear();
    this.sound = {
      file,
      name,
      url: URL.createObjectURL(file),
      seconds: audio.duration,
      peaks: peaksOf(audio.getChannelData(0), 1500),
      unsent,
      span: { start: 0, stop: Math.min(audio.duration, MOST_SECONDS) },
    };
  }

  async record(): Promise<void> {
    if (this.asking || this.recorder) return;
    const mine = ++this.#wish;
    this.problem = "";
    this.reading = false;
    this.asking = true;
    let stream: MediaStream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
      });
    } catch {
      if (mine === this.#wish)
        this.problem =
          "There is no microphone, or this page may not use it. Allow it in the browser, or drop a file.";
      return;
    } finally {
      this.asking = false;
    }
    if (mine !== this.#wish) return release(stream);
    try {
      this.#recordFrom(stream);
    } catch {
      release(stream);
      this.problem = "This browser cannot record. Drop a file.";
    }
  }

  #recordFrom(stream: MediaStream): void {
    const parts: Blob[] = [];
    const made = new MediaRecorder(stream);
    made.addEventListener("dataavailable", (event) => parts.push(event.data));
    deck.pause(); // or the recording would have it too
    made.start();
    const began = performance.now();
    const ticking = setInterval(() => (this.recorded = (performance.now() - began) / 1000), 100);
    made.addEventListener("stop", () => {
      clearInterval(ticking);
      release(stream);
      this.recorder = null;
      void this.#take(new Blob(parts, { type: made.mimeType }), "Recording", true);
    });
    this.recorded = 0;
    this.recorder = made;
  }

  clear(): void {
    if (this.sound) URL.revokeObjectURL(this.sound.url);
    this.sound = null;
  }

  /** Choose the part to begin with. */
  choose(span: OwnSound["span"]): void {
    if (this.sound) this.sound = { ...this.sound, span };
  }

  /** The sound as the service has it: it is sent once, however many songs begin with it. */
  async upload({ file, name }: OwnSound): Promise<Upload> {
    const sent = this.#sent.get(file);
    try {
      if (sent) return await api.uploaded((await sent).id);
    } catch (error) {
      if (!(error instanceof Refused && error.status === 404)) throw error; // after a day it may be gone
    }
    const sending = api.upload(file, [...name].slice(0, LONGEST_NAME).join(""));
    this.#sent.set(file, sending);
    try {
      const upload = await sending;
      if (this.sound?.file === file) this.sound = { ...this.sound, unsent: false };
      return upload;
    } catch (error) {
      this.#sent.delete(file);
      throw error;
    }
  }
}

/** The sound of a file, null where there is none that can be read. */
async function decoded(file: Blob): Promise<AudioBuffer | null> {
  try {
    return await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await file.arrayBuffer());
  } catch {
    return null;
  }
}

function release(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}

export const own = new Own();
