/** What can be heard: a file of audio. `key` tells files apart; `seconds` is known before the file is there. */
export interface Sound {
  key: string;
  url: string;
  seconds: number;
  /** Of the song that it is of: what that is called may change. */
  song: string;
  title: string;
  about: string;
  href: string;
}

interface Voice {
  sound: Sound;
  media: HTMLAudioElement;
  gain: GainNode | null;
}

const FADE_SECONDS = 0.03;
const CLOSE_ENOUGH_SECONDS = 0.012;
/** What is nearer to its end than that has ended. */
const END_SECONDS = 0.03;

/**
 * The one player of the page. Changing from one sound to another keeps the moment and leaves no gap: the new one is
 * brought to the same moment unheard, then both are faded into one another.
 */
class Deck {
  sound = $state.raw<Sound | null>(null);
  playing = $state(false);
  time = $state(0);
  problem = $state("");

  #context: AudioContext | null = null;
  #voice: Voice | null = null;
  /** Given up where another sound is wanted before this one is there. */
  #loading: AbortController | null = null;
  #keeps = false;
  /** Where to, while the sound that is wanted is not there yet. */
  #sought: number | null = null;
  #frame = 0;

  get seconds(): number {
    return this.sound?.seconds ?? 0;
  }

  get #hasEnded(): boolean {
    return this.time >= this.seconds - END_SECONDS;
  }

  /**
   * Make `sound` the one that is heard, from where the last one is if that is wanted and it has not ended, else from
   * its beginning.
   */
  async load(sound: Sound, wanted = true): Promise<void> {
    if (this.sound?.key === sound.key && this.#voice) return;
    const keep = wanted && !this.#hasEnded;
    this.#loading?.abort();
    const loading = (this.#loading = new AbortController());
    const before = this.#voice;
    this.#keeps = keep;
    if (!keep) before?.media.pause();
    const time = keep ? Math.min(this.time, Math.max(0, sound.seconds - 0.05)) : 0;
    this.#sought = null;
    this.sound = sound;
    this.time = time;
    this.problem = "";
    const voice = this.#open(sound);
    const { signal } = loading;
    signal.addEventListener("abort", () => this.#close(voice));
    try {
      await this.#ready(voice, time, signal);
      // What was pressed while it was being loaded counts.
      if (this.playing && before) await this.#catchUp(voice, keep ? before : null, signal);
    } catch {
      if (!signal.aborted) this.#failed(voice);
      return;
    }
    if (signal.aborted) return;
    this.#loading = null;
    this.#voice = voice;
    if (this.#sought !== null && (voice.media.paused || !keep)) this.seek(this.#sought);
    if (before) this.#handOver(before, voice);
    if (this.playing && voice.media.paused) await this.play();
  }

  async play(): Promise<void> {
    const voice = this.#voice;
    if (!voice || (this.#isLoading && !this.#keeps)) {
      this.playing = this.sound !== null;
      if (this.sound && this.problem) await this.load(this.sound); // perhaps it can be heard now
      return;
    }
    if (voice.media.ended || this.#hasEnded) this.seek(0);
    this.#wire(voice);
    this.playing = true;
    await this.#context?.resume();
    if (!this.playing) return;
    voice.gain?.gain.setValueAtTime(1, 0);
    try {
      await voice.media.play();
      this.#follow();
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "AbortError")) this.#failed(voice);
    }
  }

  pause(): void {
    this.playing = false;
    this.#voice?.media.pause();
    cancelAnimationFrame(this.#frame);
  }

  async toggle(): Promise<void> {
    if (this.playing) this.pause();
    else await this.play();
  }

  seek(time: number): void {
    this.time = Math.max(0, Math.min(time, this.seconds));
    if (this.#isLoading) this.#sought = this.time;
    if (this.#voice) this.#voice.media.currentTime = this.time;
  }

  get #isLoading(): boolean {
    return this.#voice?.sound !== this.sound;
  }

  /** Whether it is the one that is wanted, and is there. */
  #isHeard(voice: Voice): boolean {
    return this.#voice === voice && !this.#isLoading;
  }

  stop(): void {
    this.pause();
    this.#loading?.abort();
    this.#loading = null;
    if (this.#voice) this.#close(this.#voice);
    this.#voice = null;
    this.sound = null;
    this.time = 0;
  }

  #open(sound: Sound): Voice {
    const media = new Audio();
    media.preload = "auto";
    media.src = sound.url;
    const voice: Voice = { sound, media, gain: null };
    media.addEventListener("ended", () => {
      if (this.#voice !== voice) return;
      this.pause();
      this.time = this.seconds;
    });
    // A key of the keyboard pauses it too, and the network may fail.
    media.addEventListener("pause", () => {
      if (this.#isHeard(voice) && media.paused && !media.ended) this.playing = false;
    });
    media.addEventListener("error", () => {
      if (this.#isHeard(voice)) this.#failed(voice);
    });
    return voice;
  }

  /** Sound goes through a gain of its own, made at the first press: browsers allow no context before. */
  #wire(voice: Voice): void {
    if (voice.gain) return;
    this.#context ??= new AudioContext();
    voice.gain = this.#context.createGain();
    this.#context
      .createMediaElementSource(voice.media)
      .connect(voice.gain)
      .connect(this.#context.destination);
  }

  async #ready(voice: Voice, time: number, givenUp: AbortSignal): Promise<void> {
    await happened(
      voice.media,
      "loadedmetadata",
      () => voice.media.readyState >= HTMLMediaElement.HAVE_METADATA,
      givenUp,
    );
    const begin = this.#sought ?? time;
    this.#sought = null;
    if (begin > 0) voice.media.currentTime = begin;
    await happened(
      voice.media,
      "canplay",
      () => !voice.media.seeking && voice.media.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA,
      givenUp,
    );
  }

  /** Play unheard until the moment of `before` is met as nearly as the browser allows. */
  async #catchUp(voice: Voice, before: Voice | null, givenUp: AbortSignal): Promise<void> {
    this.#wire(voice);
    voice.gain?.gain.setValueAtTime(0, 0);
    await voice.media.play();
    let ahead = 0;
    for (let attempt = 0; before && attempt < 4; attempt++) {
      const late = before.media.currentTime - voice.media.currentTime;
      if (Math.abs(late) < CLOSE_ENOUGH_SECONDS) return;
      ahead += late;
      voice.media.currentTime = Math.min(
        before.media.currentTime + Math.max(0, ahead),
        voice.sound.seconds - 0.05,
      );
      await happened(voice.media, "seeked", () => !voice.media.seeking, givenUp);
      await new Promise((done) => setTimeout(done, 30));
    }
  }

  #handOver(before: Voice, voice: Voice): void {
    const now = this.#context?.currentTime ?? 0;
    if (this.playing) {
      before.gain?.gain.setValueAtTime(1, now);
      before.gain?.gain.linearRampToValueAtTime(0, now + FADE_SECONDS);
      voice.gain?.gain.setValueAtTime(0, now);
      voice.gain?.gain.linearRampToValueAtTime(1, now + FADE_SECONDS);
    } else {
      voice.media.pause();
    }
    setTimeout(() => this.#close(before), FADE_SECONDS * 1000 + 20);
  }

  #close(voice: Voice): void {
    voice.media.pause();
    voice.media.removeAttribute("src");
    voice.media.load();
    voice.gain?.disconnect();
  }

  #failed(voice: Voice): void {
    if (this.#voice && this.#voice !== voice) this.#close(this.#voice);
    this.#close(voice);
    this.#voice = null;
    this.playing = false;
    this.problem = "This sound cannot be played: it may have been deleted, or the Studio has stopped.";
  }

  #follow(): void {
    cancelAnimationFrame(this.#frame);
    const step = (): void => {
      const voice = this.#voice;
      if (voice && (this.#keeps || voice.sound === this.sound)) this.time = voice.media.currentTime;
      if (this.playing) this.#frame = requestAnimationFrame(step);
    };
    this.#frame = requestAnimationFrame(step);
  }
}

function happened(
  media: HTMLMediaElement,
  event: string,
  already: () => boolean,
  givenUp: AbortSignal,
): Promise<void> {
  return new Promise((done, failed) => {
    if (givenUp.aborted) return failed(givenUp.reason);
    if (media.error) return failed(media.error);
    if (already()) return done();
    const listen = new AbortController();
    const { signal } = listen;
    media.addEventListener("error", () => (listen.abort(), failed(media.error)), { signal });
    givenUp.addEventListener("abort", () => (listen.abort(), failed(givenUp.reason)), { signal });
    const check = (): void => {
      if (!already()) return;
      listen.abort();
      done();
    };
    for (const name of [event, "seeked", "canplay", "canplaythrough"])
      media.addEventListener(name, check, { signal });
  });
}

export const deck = new Deck();
