import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { unsettled } from "../src/lib/job";
import { repeats } from "../src/lib/keys";
import { inTurn } from "../src/lib/turns";
import type { Song } from "../src/api/types";
import type { Sound } from "../src/state/deck.svelte";
import type { OwnSound } from "../src/state/own.svelte";

const soon = (): Promise<void> => new Promise((done) => setTimeout(done, 5));

describe("acts in turn", () => {
  it("begin when the one before has ended, though that failed", async () => {
    const waiting = inTurn();
    let tags: string[] = [];
    const add = (tag: string) => async (): Promise<void> => {
      const known = tags;
      await soon();
      if (tag === "bad") throw new Error("refused");
      tags = [...known, tag];
    };
    const done = [waiting(add("a")), waiting(add("bad")), waiting(add("b"))];
    expect((await Promise.allSettled(done)).map((one) => one.status)).toEqual([
      "fulfilled",
      "rejected",
      "fulfilled",
    ]);
    expect(tags).toEqual(["a", "b"]);
  });
});

describe("the jobs of a song that are to be seen", () => {
  const job = (state: string, ...takes: string[]): { state: string; takes: string[] } => ({ state, takes });

  it("are those at work, and what was not finished of takes that are there", () => {
    const jobs = [
      job("done", "a"),
      job("failed", "b"),
      job("cancelled", "undone"),
      job("queued", "c"),
      job("running", "undone"),
    ];
    expect(unsettled(jobs, ["a", "b", "c"])).toEqual([jobs[1], jobs[3], jobs[4]]);
  });

  it("are no longer those whose takes a later one finished", () => {
    const jobs = [job("cancelled", "a"), job("failed", "b", "c"), job("done", "a"), job("done", "b")];
    expect(unsettled(jobs, ["a", "b", "c"])).toEqual([jobs[1]]);
    expect(unsettled([...jobs, job("done", "c")], ["a", "b", "c"])).toEqual([]);
  });
});

describe("a key that is held down", () => {
  it("moves on, and does nothing else again", () => {
    expect(repeats({ act: "skip", seconds: 5 }) && repeats({ act: "sibling", by: 1 })).toBe(true);
    for (const act of ["undo", "toggle", "choose", "level", "search"] as const)
      expect(repeats({ act })).toBe(false);
  });
});

describe("a draft", () => {
  it("stays whatever news come in, until it is saved", async () => {
    const { Draft } = await import("../src/state/draft.svelte");
    const saved: string[] = [];
    let works = false;
    const draft = new Draft(async (text) => {
      await soon();
      if (works) saved.push(text);
      return works;
    });
    expect(draft.shown("kept")).toBe("kept");
    draft.type("mine");
    expect(draft.shown("from another window")).toBe("mine");
    await draft.leave("kept");
    expect(draft.shown("kept")).toBe("mine");
    works = true;
    const leaving = draft.leave("kept");
    draft.type("mine, and more");
    expect(draft.shown("mine")).toBe("mine, and more");
    await leaving;
    expect(saved).toEqual(["mine", "mine, and more"]);
    expect(draft.shown("from another window")).toBe("from another window");
    draft.type("mine, and more");
    await draft.leave("mine, and more");
    expect(saved).toHaveLength(2);
    expect(draft.shown("theirs")).toBe("theirs");
  });
});

/** An element of audio whose file comes when a test says so. */
class FakeAudio extends EventTarget {
  static made: FakeAudio[] = [];
  preload = "";
  src = "";
  currentTime = 0;
  readyState = 0;
  paused = true;
  seeking = false;
  ended = false;
  error = null;
  constructor() {
    super();
    FakeAudio.made.push(this);
  }
  come(): void {
    this.readyState = 4;
    this.dispatchEvent(new Event("loadedmetadata"));
    this.dispatchEvent(new Event("canplay"));
  }
  async play(): Promise<void> {
    this.paused = false;
  }
  pause(): void {
    this.paused = true;
  }
  load(): void {}
  removeAttribute(): void {
    this.src = "";
  }
}

class FakeContext {
  currentTime = 0;
  destination = {};
  async resume(): Promise<void> {}
  createGain(): object {
    const gain = { setValueAtTime: () => undefined, linearRampToValueAtTime: () => undefined };
    return { gain, connect: (next: object) => next, disconnect: () => undefined };
  }
  createMediaElementSource(): object {
    return { connect: (next: object) => next };
  }
}

describe("the player", () => {
  beforeEach(() => {
    vi.resetModules();
    FakeAudio.made = [];
    vi.stubGlobal("Audio", FakeAudio);
    vi.stubGlobal("AudioContext", FakeContext);
    vi.stubGlobal("HTMLMediaElement", { HAVE_METADATA: 1, HAVE_FUTURE_DATA: 3 });
    vi.stubGlobal("requestAnimationFrame", () => 0);
    vi.stubGlobal("cancelAnimationFrame", () => undefined);
  });
  afterEach(() => void vi.unstubAllGlobals());

  const sound = (key: string): Sound => ({
    key,
    url: key,
    seconds: 20,
    song: "tune",
    title: key,
    about: "",
    href: "",
  });
  const fake = (number: number): FakeAudio => FakeAudio.made[number] as FakeAudio;

  it("plays what Play was pressed for while it was loaded, from where one sought", async () => {
    const { deck } = await import("../src/state/deck.svelte");
    const loading = deck.load(sound("a"));
    void deck.play();
    deck.seek(7);
    await soon();
    fake(0).come();
    await loading;
    expect([deck.playing, fake(0).paused, fake(0).currentTime]).toEqual([true, false, 7]);
  });

  it("does not play what was paused while it was loaded", async () => {
    const { deck } = await import("../src/state/deck.svelte");
    const loading = deck.load(sound("a"));
    void deck.play();
    deck.pause();
    fake(0).come();
    await loading;
    expect([deck.playing, fake(0).paused]).toEqual([false, true]);
  });

  it("does not go back to the sound before, and plays the one that comes", async () => {
    const { deck } = await import("../src/state/deck.svelte");
    const first = deck.load(sound("a"));
    fake(0).come();
    await first;
    const loading = deck.load(sound("b"), false);
    void deck.play();
    deck.seek(3);
    await soon();
    expect(fake(0).paused).toBe(true);
    fake(1).come();
    await loading;
    expect([deck.playing, fake(1).paused, fake(1).currentTime]).toEqual([true, false, 3]);
  });

  it("knows that it was paused from outside, or that the sound broke off", async () => {
    const { deck } = await import("../src/state/deck.svelte");
    const loading = deck.load(sound("a"));
    fake(0).come();
    await loading;
    await deck.play();
    fake(0).pause();
    fake(0).dispatchEvent(new Event("pause"));
    expect([deck.playing, deck.problem]).toEqual([false, ""]);
    await deck.play();
    fake(0).dispatchEvent(new Event("error"));
    expect(deck.playing).toBe(false);
    expect(deck.problem).toContain("cannot be played");
  });

  it("keeps the moment of what has not ended, and begins anew after what has", async () => {
    const { deck } = await import("../src/state/deck.svelte");
    const heard = async (key: string, number: number): Promise<number> => {
      const loading = deck.load(sound(key));
      fake(number).come();
      await loading;
      return deck.time;
    };
    await heard("a", 0);
    deck.seek(5);
    expect(await heard("b", 1)).toBe(5);
    deck.seek(20);
    expect(await heard("c", 2)).toBe(0);
  });

  it("does not go on loading what another sound was wanted in place of", async () => {
    const { deck } = await import("../src/state/deck.svelte");
    const first = deck.load(sound("a"));
    const second = deck.load(sound("b"));
    await first;
    expect([fake(0).src, fake(1).src]).toEqual(["", "b"]);
    fake(1).come();
    await second;
    expect([deck.sound?.key, deck.problem]).toEqual(["b", ""]);
  });
});

describe("what is written about a song", () => {
  const api = { change: vi.fn() };
  beforeEach(() => {
    vi.resetModules();
    vi.resetAllMocks();
    vi.doMock("../src/api/client", () => ({ api, Refused: Error, isSmall: () => true }));
  });
  afterEach(() => void vi.doUnmock("../src/api/client"));

  it("is there when the song is opened again, though it could not be saved, and is saved then", async () => {
    const { editsOf } = await import("../src/state/edits");
    const { studio } = await import("../src/state/studio.svelte");
    const song = { id: "tune", title: "Tune", notes: "", tags: ["old"], revision: 1 } as unknown as Song;
    studio.know(song);
    api.change.mockRejectedValueOnce(new Error("no answer"));
    editsOf("tune").tag.type(" new ");
    await editsOf("tune").save("tag");
    expect([editsOf("tune").tag.shown(""), editsOf("other").tag.shown("")]).toEqual([" new ", ""]);
    api.change.mockImplementation(async (_, changes) => ({ ...song, ...changes, revision: 2 }));
    await editsOf("tune").save("tag");
    expect(api.change).toHaveBeenLastCalledWith("tune", { tags: ["old", "new"] });
    expect([editsOf("tune").tag.shown(""), studio.song("tune")?.tags]).toEqual(["", ["old", "new"]]);
  });
});

describe("a song that is deleted", () => {
  const api = { remove: vi.fn(), restore: vi.fn(), discard: vi.fn(), bin: vi.fn() };
  class Refused extends Error {
    problem = "it is being made";
    hint = "cancel its jobs first";
  }

  beforeEach(() => {
    vi.resetModules();
    vi.doMock("../src/api/client", () => ({ api, Refused }));
    vi.stubGlobal("cancelAnimationFrame", () => undefined);
  });
  afterEach(() => {
    vi.doUnmock("../src/api/client");
    vi.unstubAllGlobals();
  });

  const sound = (song: string): Sound => ({
    key: song,
    url: song,
    seconds: 20,
    song,
    title: song,
    about: "",
    href: "",
  });

  it("is heard until the service has let go of it, and others are heard on", async () => {
    const { bin } = await import("../src/state/bin.svelte");
    const { deck } = await import("../src/state/deck.svelte");
    deck.sound = sound("tune");
    api.remove.mockRejectedValueOnce(new Refused());
    expect(await bin.put({ id: "tune", title: "Tune" })).toBe(false);
    expect([deck.sound?.song, bin.latest]).toEqual(["tune", null]);
    api.remove.mockResolvedValue(undefined);
    expect(await bin.put({ id: "other", title: "Other" })).toBe(true);
    expect(deck.sound?.song).toBe("tune");
    expect(await bin.put({ id: "tune", title: "Tune" })).toBe(true);
    expect([deck.sound, bin.latest]).toEqual([null, { id: "tune", title: "Tune" }]);
  });

  it("is taken back, or deleted for good", async () => {
    const { bin } = await import("../src/state/bin.svelte");
    const { studio } = await import("../src/state/studio.svelte");
    const tune = { id: "tune", title: "Tune" };
    api.remove.mockResolvedValue(undefined);
    api.discard.mockResolvedValue(undefined);
    api.restore.mockResolvedValue({ ...tune, revision: 1 });
    await bin.put(tune);
    expect(studio.isGone("tune")).toBe(true);
    expect(await bin.takeBack(tune)).toMatchObject(tune);
    expect([studio.isGone("tune"), bin.latest]).toEqual([false, null]);
    await bin.put(tune);
    expect(await bin.discard(tune)).toBe(true);
    expect(bin.latest).toBe(null);
  });

  it("is not to be had back once another window has it back", async () => {
    const { bin } = await import("../src/state/bin.svelte");
    const tune = { id: "tune", title: "Tune" };
    api.remove.mockResolvedValue(undefined);
    await bin.put(tune);
    api.bin.mockResolvedValueOnce([tune]).mockResolvedValueOnce([]);
    await bin.lookAgain();
    expect(bin.latest).toEqual(tune);
    await bin.lookAgain();
    expect(bin.latest).toBe(null);
  });
});

describe("sound of one's own", () => {
  const api = { upload: vi.fn(), uploaded: vi.fn() };
  class Refused extends Error {
    status = 404;
  }
  /** How many milliseconds the sound of a file takes to be read: what stands in it. */
  class SlowContext {
    async decodeAudioData(content: ArrayBuffer): Promise<object> {
      const wait = Number(new TextDecoder().decode(content));
      await new Promise((done) => setTimeout(done, wait));
      if (Number.isNaN(wait)) throw new Error("no sound");
      return { duration: 1, getChannelData: () => new Float32Array(4) };
    }
  }
  const lasting = (milliseconds: number): Blob => new Blob([String(milliseconds)]);

  beforeEach(() => {
    vi.resetModules();
    vi.resetAllMocks();
    vi.doMock("../src/api/client", () => ({ api, Refused }));
    vi.stubGlobal("OfflineAudioContext", SlowContext);
  });
  afterEach(() => {
    vi.doUnmock("../src/api/client");
    vi.unstubAllGlobals();
  });

  it("is the one that was given last, however long another takes to be read", async () => {
    const { own } = await import("../src/state/own.svelte");
    const long = own.take(lasting(20), "long");
    const bad = own.take(new Blob(["none"]), "bad");
    const short = own.take(lasting(1), "short");
    expect(own.reading).toBe(true);
    await short;
    expect(own.reading).toBe(false);
    await Promise.all([long, bad]);
    expect([own.sound?.name, own.problem]).toEqual(["short", ""]);
  });

  it("is sent once, and again when the service has it no more", async () => {
    const { own } = await import("../src/state/own.svelte");
    const span = { start: 0, stop: 1 };
    const hum = { file: new Blob(["hum"]), name: "hum", url: "", seconds: 1, peaks: [], unsent: true, span };
    own.sound = hum;
    api.upload.mockResolvedValueOnce({ id: "one" }).mockResolvedValueOnce({ id: "two" });
    api.uploaded.mockResolvedValueOnce({ id: "one" }).mockRejectedValueOnce(new Refused());
    expect(own.unsent).toBe(true);
    const sent = await Promise.all([own.upload(hum), own.upload({ ...hum })]);
    expect(own.unsent).toBe(false);
    sent.push(await own.upload(hum));
    expect(sent.map((one) => one.id)).toEqual(["one", "one", "two"]);
    expect(api.upload).toHaveBeenCalledTimes(2);
  });

  it("is sent again where that failed, by a name that the service takes", async () => {
    const { own } = await import("../src/state/own.svelte");
    await own.take(lasting(1), "é".repeat(250));
    const sound = own.sound as OwnSound;
    api.upload.mockRejectedValueOnce(new Error("no answer")).mockResolvedValueOnce({ id: "one" });
    await expect(own.upload(sound)).rejects.toThrow("no answer");
    expect(await own.upload(sound)).toEqual({ id: "one" });
    expect(api.upload).toHaveBeenLastCalledWith(sound.file, "é".repeat(200));
  });
});

describe("a recording of one's own", () => {
  const stop = vi.fn();
  const microphone = vi.fn();
  const Recorder = vi.fn();

  beforeEach(() => {
    vi.resetModules();
    vi.resetAllMocks();
    vi.doMock("../src/api/client", () => ({ api: {}, Refused: Error }));
    vi.stubGlobal("navigator", { mediaDevices: { getUserMedia: microphone } });
    vi.stubGlobal("MediaRecorder", Recorder);
    vi.stubGlobal("cancelAnimationFrame", () => undefined);
    microphone.mockImplementation(async () => (await soon(), { getTracks: () => [{ stop }] }));
  });
  afterEach(() => {
    vi.doUnmock("../src/api/client");
    vi.unstubAllGlobals();
  });

  it("begins once, however often it is asked for", async () => {
    const made = Object.assign(new EventTarget(), { start: vi.fn(), mimeType: "audio/webm" });
    Recorder.mockImplementation(function () {
      return made;
    });
    const { own } = await import("../src/state/own.svelte");
    const asked = [own.record(), own.record()];
    expect(own.asking).toBe(true);
    await Promise.all(asked);
    await own.record();
    expect(microphone).toHaveBeenCalledTimes(1);
    expect([own.asking, own.recorder]).toEqual([false, made]);
    made.dispatchEvent(new Event("stop"));
    expect([own.recorder, stop.mock.calls.length]).toEqual([null, 1]);
  });

  it("does not begin once a file was chosen instead", async () => {
    const { own } = await import("../src/state/own.svelte");
    const asked = own.record();
    await Promise.all([asked, own.take(new Blob(["no sound"]), "hum")]);
    expect([own.recorder, own.asking, stop.mock.calls.length]).toEqual([null, false, 1]);
    expect(Recorder).not.toHaveBeenCalled();
  });

  it("has none of the music that was heard, and is asked about before the page is left", async () => {
    const { deck } = await import("../src/state/deck.svelte");
    const { own } = await import("../src/state/own.svelte");
    const start = vi.fn(() => expect(deck.playing).toBe(false));
    Recorder.mockImplementation(function () {
      return Object.assign(new EventTarget(), { start });
    });
    deck.playing = true;
    await own.record();
    expect([start.mock.calls.length, own.unsent]).toEqual([1, true]);
  });

  it("lets go of the microphone where the browser cannot record", async () => {
    Recorder.mockImplementation(function () {
      throw new Error("not supported");
    });
    const { own } = await import("../src/state/own.svelte");
    await own.record();
    expect([own.recorder, own.problem, stop.mock.calls.length]).toEqual([
      null,
      "This browser cannot record. Drop a file.",
      1,
    ]);
  });
});

describe("a body that is sent while the page is left", () => {
  beforeEach(() => {
    vi.resetModules();
    vi.stubGlobal("document", { baseURI: "http://studio.lan/" });
  });
  afterEach(() => void vi.unstubAllGlobals());

  it("has fewer bytes than browsers take then", async () => {
    const { isSmall } = await import("../src/api/client");
    expect(isSmall({ notes: "a".repeat(50_000) })).toBe(true);
    expect(isSmall({ notes: "語".repeat(25_000) })).toBe(false);
  });
});

class FakeEvents extends EventTarget {
  static readonly CLOSED = 2;
  static made: FakeEvents[] = [];
  readyState = 1;
  constructor() {
    super();
    FakeEvents.made.push(this);
  }
  close(): void {
    this.readyState = FakeEvents.CLOSED;
  }
  tell(name: string, data: object): void {
    this.dispatchEvent(Object.assign(new Event(name), { data: JSON.stringify(data) }));
  }
}

describe("what is heard of the service", () => {
  const answers = new Map<string, [number, object]>();
  let page: EventTarget & { hidden: boolean; baseURI: string };

  beforeEach(() => {
    vi.resetModules();
    FakeEvents.made = [];
    answers.clear();
    answers.set("/api/models", [200, { models: [] }]).set("/api/jobs", [200, { jobs: [] }]);
    page = Object.assign(new EventTarget(), { hidden: false, baseURI: "http://studio.lan/" });
    vi.stubGlobal("document", page);
    vi.stubGlobal("EventSource", FakeEvents);
    vi.stubGlobal(
      "Request",
      class {
        constructor(readonly url: string) {}
      },
    );
    vi.stubGlobal("fetch", async ({ url }: { url: string }) => {
      const answer = answers.get(url);
      if (!answer) throw new TypeError("no answer");
      return Response.json(answer[1], { status: answer[0] });
    });
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  const stream = (): FakeEvents => FakeEvents.made.at(-1) as FakeEvents;
  const show = (hidden: boolean): void => {
    page.hidden = hidden;
    page.dispatchEvent(new Event("visibilitychange"));
  };
  const status = (indexed: boolean): object => ({
    model: { name: "mini", state: "ready", problem: "" },
    indexed,
  });

  it("needs no connection while the page is hidden, and what was missed is asked for when it is seen", async () => {
    const { studio } = await import("../src/state/studio.svelte");
    const stop = studio.connect();
    stream().dispatchEvent(new Event("open"));
    stream().tell("status", status(true));
    await soon();
    expect(studio.caughtUp).toBe(1);
    show(true);
    expect(FakeEvents.made.every((one) => one.readyState === FakeEvents.CLOSED)).toBe(true);
    const before = studio.changes;
    show(false);
    expect(FakeEvents.made.filter((one) => one.readyState !== FakeEvents.CLOSED)).toHaveLength(1);
    stream().dispatchEvent(new Event("open"));
    stream().tell("status", status(true));
    await soon();
    expect([studio.caughtUp, studio.changes]).toEqual([2, before + 1]);
    stop();
    show(false);
    expect(stream().readyState).toBe(FakeEvents.CLOSED);
  });

  it("has the library looked at again when all songs are indexed", async () => {
    const { studio } = await import("../src/state/studio.svelte");
    const stop = studio.connect();
    stream().dispatchEvent(new Event("open"));
    stream().tell("status", status(false));
    await soon();
    const before = studio.changes;
    stream().tell("status", status(true));
    await soon();
    expect(studio.changes).toBe(before + 1);
    stop();
  });

  it("is not overtaken by the answer to what was asked for", async () => {
    const { studio } = await import("../src/state/studio.svelte");
    const stop = studio.connect();
    const song = { id: "tune", title: "Tune", revision: 1, tree: [] };
    answers.set("/api/songs/tune", [200, song]);
    const job = { id: "job", song: "tune", takes: [], created: 1 };
    stream().tell("job", { ...job, state: "failed" });
    await soon();
    const asked = { song, job: { ...job, state: "queued" } } as unknown as Parameters<typeof studio.begun>[0];
    studio.begun(asked);
    expect(studio.jobs.map((one) => one.state)).toEqual(["failed"]);
    stop();
  });

  it("has none of the work that is gone when it is heard of again", async () => {
    const { studio } = await import("../src/state/studio.svelte");
    const stop = studio.connect();
    const at = { song: null, takes: [], state: "running", created: 1 };
    stream().tell("job", { ...at, id: "gone" });
    const answer = {
      get jobs(): object[] {
        stream().tell("job", { ...at, id: "new", created: 2 }); // later than what is answered
        return [{ ...at, id: "kept" }];
      },
    };
    answers.set("/api/jobs", [200, answer]);
    stream().dispatchEvent(new Event("open"));
    stream().tell("status", status(true));
    await soon();
    expect(studio.active.map((job) => job.id)).toEqual(["kept", "new"]);
    stop();
  });

  it("is said where the service refuses, and is listened for again", async () => {
    vi.useFakeTimers();
    const { studio } = await import("../src/state/studio.svelte");
    const stop = studio.connect();
    answers.set("/api/status", [401, { error: "the token is missing", hint: "open the address" }]);
    stream().readyState = FakeEvents.CLOSED;
    stream().dispatchEvent(new Event("error"));
    await vi.advanceTimersByTimeAsync(10);
    expect(studio.note).toBe("The token is missing. Open the address.");
    await vi.advanceTimersByTimeAsync(5000);
    expect(FakeEvents.made).toHaveLength(2);
    stream().dispatchEvent(new Event("open"));
    expect(studio.note).toBe("");
    stop();
  });

  it("is taken up by the browser where it broke off", async () => {
    const { studio } = await import("../src/state/studio.svelte");
    const stop = studio.connect();
    stream().readyState = 0;
    stream().dispatchEvent(new Event("error"));
    await soon();
    expect(studio.note).toContain("does not answer");
    expect(FakeEvents.made).toHaveLength(1);
    stop();
  });
});
