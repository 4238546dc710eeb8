import { describe, expect, it, vi } from "vitest";
import { parts, ramp } from "../src/lib/colour";
import { doing } from "../src/lib/job";
import { facts } from "../src/lib/provenance";
import { belongsTo, command, KEYS, moment } from "../src/lib/keys";
import { sungAt } from "../src/lib/lyrics";
import { bars, columns, peaksOf } from "../src/lib/peaks";
import { readRoute, writeRoute, type Route } from "../src/lib/route";
import { apart, extent, nearest } from "../src/lib/scatter";
import { sentence } from "../src/lib/sentence";
import { ago, clock } from "../src/lib/time";
import { lineage, marks, placed, seedAfter, type Branch } from "../src/lib/tree";

describe("time", () => {
  it("is written as people write it", () => {
    expect([0, 7.9, 65, 3723].map((seconds) => clock(seconds))).toEqual(["0:00", "0:07", "1:05", "1:02:03"]);
  });

  it("carries tenths over to the next second", () => {
    expect([0.04, 9.96, 59.97].map((seconds) => clock(seconds, true))).toEqual([
      "0:00.0",
      "0:10.0",
      "1:00.0",
    ]);
  });

  it("is nothing where it is not known", () => {
    expect(clock(NaN)).toBe("0:00");
    expect(clock(-3)).toBe("0:00");
  });

  it("is told in words", () => {
    const now = new Date("2026-01-10T12:00:00Z");
    const before = (minutes: number): string => ago(new Date(now.getTime() - minutes * 60_000), now);
    expect([0.5, 5, 61, 60 * 49].map(before)).toEqual(["just now", "5 min ago", "1 h ago", "2 d ago"]);
  });
});

describe("the tree of takes", () => {
  const take = (id: string, parent: string | null, start: number, stop: number): Branch => ({
    id,
    parent,
    start,
    stop,
  });
  const takes = [
    take("one", null, 0, 10),
    take("two", null, 0, 10),
    take("on", "two", 10, 15),
    take("on too", "two", 10, 15),
    take("aside", "on", 4, 9),
    take("painted", "on", 11, 12),
  ];

  it("shows every take once", () => {
    expect(new Set(placed(takes).map(({ take }) => take.id))).toEqual(new Set(takes.map(({ id }) => id)));
  });

  it("keeps what goes on at the end in its parent's row and nothing else", () => {
    const rows = new Map(placed(takes).map(({ take, row }) => [take.id, row]));
    expect(rows.get("on")).toBe(rows.get("two"));
    const others = ["one", "two", "on too", "aside", "painted"].map((id) => rows.get(id));
    expect(new Set(others).size).toBe(others.length);
  });

  it("never lays two takes over one another", () => {
    const rows = placed(takes);
    for (const one of rows)
      for (const other of rows) {
        if (one === other || one.row !== other.row) continue;
        expect(one.take.stop <= other.take.start + 0.05 || other.take.stop <= one.take.start + 0.05).toBe(
          true,
        );
      }
  });

  it("keeps a take whose parent is gone", () => {
    expect(placed([take("left", "gone", 3, 6)])).toEqual([{ take: take("left", "gone", 3, 6), row: 0 }]);
  });

  it("knows the way from the root, and ends on a circle", () => {
    expect(lineage(takes, "painted")).toEqual(["two", "on", "painted"]);
    expect(lineage([take("a", "b", 0, 1), take("b", "a", 0, 1)], "a")).toHaveLength(2);
    expect(lineage(takes, null)).toEqual([]);
  });

  it("gives every take that is made from one a seed of its own", () => {
    const seeded = [
      { id: "one", parent: null, seed: 5 },
      { id: "two", parent: null, seed: 9 },
      { id: "on", parent: "one", seed: 6 },
      { id: "on too", parent: "one", seed: 7 },
      { id: "further", parent: "on", seed: 30 },
    ] as const;
    expect(seeded.map((one) => seedAfter(one, seeded))).toEqual([8, 10, 31, 8, 31]);
  });

  it("marks round seconds up to the end", () => {
    expect(marks(10, 6)).toEqual([0, 2, 4, 6, 8, 10]);
    expect(marks(600, 6)).toEqual([0, 120, 240, 360, 480, 600]);
  });
});

describe("lyrics", () => {
  const lines = [1, 3, 8].map((start) => ({ text: String(start), start, end: start + 1 }));

  it("light up with what was begun last", () => {
    expect([0, 1, 2.9, 3, 7, 100].map((time) => sungAt(lines, time))).toEqual([-1, 0, 0, 1, 1, 2]);
    expect(sungAt([], 4)).toBe(-1);
  });

  it("agree with looking at each", () => {
    for (let time = 0; time < 12; time += 0.25) {
      const slow = lines.reduce((last, line, index) => (line.start <= time ? index : last), -1);
      expect(sungAt(lines, time)).toBe(slow);
    }
  });
});

describe("peaks", () => {
  it("keep the loudest under each column, scaled to one", () => {
    expect(columns([0.1, -0.5, 0.2, 0.25], 2)).toEqual([1, 0.5]);
    expect(columns([], 5)).toEqual([]);
  });

  it("are not stretched beyond what there is", () => {
    expect(columns([0.5, 1], 9)).toEqual([0.5, 1]);
  });

  it("stay inside the picture", () => {
    const heights = [...bars([0, 0.3, -1, 0.4], 16, 20).matchAll(/M\S+ (\S+)V(\S+?)(?=M|$)/g)];
    expect(heights).toHaveLength(4);
    for (const [, from, to] of heights) {
      expect(Number(from)).toBeGreaterThanOrEqual(0);
      expect(Number(to)).toBeLessThanOrEqual(20);
    }
  });

  it("of samples are the loudest of each stretch", () => {
    expect(peaksOf(Float32Array.of(0, -0.5, 0.25, 0, 1, 0), 3)).toEqual([0.5, 0.25, 1]);
  });
});

describe("places", () => {
  it.each<Route>([
    { page: "library" },
    { page: "map" },
    { page: "compose", ask: {} },
    { page: "compose", ask: { artist: "Ada & Bo", genres: "a,b" } },
    { page: "song", song: "a/b ?", take: null },
    { page: "song", song: "x", take: "ü#1" },
  ])("come back from their address: %j", (route) => {
    expect(readRoute(writeRoute(route))).toEqual(route);
  });

  it("are the composing page where an address says nothing", () => {
    expect(readRoute("").page).toBe("compose");
    expect(readRoute("#/nowhere").page).toBe("compose");
  });

  it("are the composing page where an address is broken", () => {
    expect(readRoute("#/song/%E0%A4%A").page).toBe("compose");
  });
});

describe("the map", () => {
  const places = [
    { x: 0, y: 0 },
    { x: 1, y: 0 },
    { x: 5, y: 5 },
  ];

  it("has a box that can be divided by", () => {
    expect(extent([])).toEqual({ left: 0, top: 0, width: 1, height: 1 });
    expect(extent([{ x: 3, y: 3 }])).toMatchObject({ width: 1, height: 1 });
    expect(extent(places)).toEqual({ left: 0, top: 0, width: 5, height: 5 });
  });

  it("knows what is near, without the place itself", () => {
    expect(nearest(places[2] as { x: number; y: number }, places, 1)).toEqual([{ x: 1, y: 0 }]);
  });

  it("shows no name over another", () => {
    const box = (left: number): { left: number; right: number; top: number; bottom: number } => ({
      left,
      right: left + 10,
      top: 0,
      bottom: 5,
    });
    expect(apart([0, 4, 10, 15, 21], box)).toEqual([0, 10, 21]);
    expect(apart([0, 4, 10], box, [box(2)])).toEqual([]);
  });
});

describe("keys", () => {
  const press = (key: string, more: object = {}): ReturnType<typeof command> =>
    command({ key, shiftKey: false, ctrlKey: false, metaKey: false, altKey: false, ...more });

  it("do what the list says", () => {
    expect(press(" ")).toEqual({ act: "toggle" });
    expect(press("ArrowLeft")).toEqual({ act: "skip", seconds: -5 });
    expect(press("ArrowRight", { shiftKey: true })).toEqual({ act: "skip", seconds: 1 });
    expect(press("7")).toEqual({ act: "take", number: 7 });
    expect(press("?", { shiftKey: true })).toEqual({ act: "help" });
    expect(KEYS.length).toBeGreaterThan(5);
  });

  it("leave the browser's own alone", () => {
    expect(press("u", { ctrlKey: true })).toBeNull();
    expect(press("1", { altKey: true })).toBeNull();
    expect(press("0")).toBeNull();
    expect(press("Tab")).toBeNull();
  });
});

describe("a slider over music", () => {
  const pressed = (key: string, more = {}) => ({
    key,
    shiftKey: false,
    ctrlKey: false,
    metaKey: false,
    altKey: false,
    ...more,
  });

  it("is moved by keys, and stays within the music", () => {
    expect(moment(pressed("ArrowRight"), 3, 20)).toBe(8);
    expect(moment(pressed("ArrowLeft", { shiftKey: true }), 3, 20)).toBe(2);
    expect(moment(pressed("ArrowLeft"), 3, 20)).toBe(0);
    expect([moment(pressed("ArrowUp"), 3, 20), moment(pressed("ArrowDown"), 9, 20)]).toEqual([8, 4]);
    expect([moment(pressed("Home"), 3, 20), moment(pressed("End"), 3, 20)]).toEqual([0, 20]);
    expect(moment(pressed("Enter"), 3, 20)).toBe(null);
    expect(moment(pressed("ArrowLeft", { altKey: true }), 3, 20)).toBe(null);
  });

  it("keeps its arrows, and leaves Space to the player", () => {
    class FakeElement {
      constructor(private readonly matches: string[]) {}
      closest(selectors: string): FakeElement | null {
        return selectors.split(", ").some((one) => this.matches.includes(one)) ? this : null;
      }
    }
    vi.stubGlobal("Element", FakeElement);
    const belongs = (key: string, ...matches: string[]): boolean =>
      belongsTo(new FakeElement(matches) as unknown as Element, key);
    for (const slider of [["input", "input[type=range]"], ["[role=slider]"]])
      expect([belongs("ArrowLeft", ...slider), belongs(" ", ...slider)]).toEqual([true, false]);
    expect([belongs("ArrowLeft", "button"), belongs(" ", "button")]).toEqual([false, true]);
    vi.unstubAllGlobals();
  });
});

describe("a problem", () => {
  it("is a sentence", () => {
    expect(sentence("no artist called 'X'")).toBe("No artist called 'X'.");
    expect(sentence("  Done. ")).toBe("Done.");
    expect(sentence("")).toBe("");
  });
});

describe("colours", () => {
  it("are read as a browser writes them", () => {
    expect(parts("rgb(255, 0, 51)")).toEqual([1, 0, 0.2]);
    expect(parts("rgba(51, 255, 0, 0.5)")).toEqual([0.2, 1, 0]);
    expect(parts("color(srgb 0.1 0.2 0.3)")).toEqual([0.1, 0.2, 0.3]);
  });

  it("lead from the first to the last", () => {
    const found = ramp(
      [
        [0, 0, 0],
        [1, 0, 0],
        [1, 1, 1],
      ],
      5,
    );
    expect(found).toEqual([
      [0, 0, 0, 1],
      [0.5, 0, 0, 1],
      [1, 0, 0, 1],
      [1, 0.5, 0.5, 1],
      [1, 1, 1, 1],
    ]);
  });
});

describe("a job", () => {
  const job = { kind: "compose", state: "running", stage: "compose", level: 1, takes: ["a", "b"] };

  it("says what it is doing", () => {
    expect(doing(job, 2)).toBe("Composing 2 takes");
    expect(doing({ ...job, kind: "repaint", takes: ["a"] }, 2)).toBe("Repainting");
    expect(doing({ ...job, stage: "decode" }, 2)).toBe("Making it audible");
    expect(doing({ ...job, kind: "refine", level: 0 }, 2)).toBe("Refining");
    expect(doing({ ...job, level: 0 }, 2)).toBe("Refining");
    expect(doing({ ...job, kind: "map", stage: "listen" }, 2)).toBe("Listening to your songs");
    expect(doing({ ...job, state: "queued" }, 2)).toBe("Waiting for its turn");
  });

  it("refines nothing before it has told how far it is, nor with a model of one level", () => {
    expect(doing({ ...job, stage: "", level: 0 }, 2)).toBe("Composing 2 takes");
    expect(doing({ ...job, kind: "refine", stage: "", level: 0 }, 2)).toBe("Refining");
    expect(doing({ ...job, level: 0 }, 1)).toBe("Composing 2 takes");
  });
});

describe("what made a take", () => {
  const made = {
    notice: "AI-generated",
    orchestrion: "1.0",
    level: 1,
    model: { name: "mini", sha256: "0123456789abcdef" },
    request: {
      artist: "Ada",
      genres: ["a", "b"],
      seed: 0,
      seconds: 4.00001,
      mix: { artist: "Bo", share: 0.25 },
      prime: null,
    },
  };

  it("is told in words, and what is not known is left out", () => {
    const told = Object.fromEntries(facts(made, null));
    expect(told).toEqual({
      Model: "mini, 0123456789ab",
      Artist: "Ada",
      "Mixed with": "Bo, 25 %",
      Genres: "a, b",
      Seed: "0",
      Length: "4 s",
      "Decoded level": "1",
      Orchestrion: "1.0",
    });
  });

  it("says what comes back", () => {
    const parts = [
      { start_seconds: 6, seconds: 2, of_seconds: 0 },
      { start_seconds: 8, seconds: 2, of_seconds: 1.25 },
    ];
    const form = (value: unknown): unknown =>
      Object.fromEntries(facts({ ...made, request: { form: value } }, null)).Form;
    expect(form(parts)).toBe("0 s again at 6 s, 1.25 s again at 8 s");
    expect([form("ABA"), form(null)]).toEqual(["ABA", undefined]);
  });

  it("says what it was made from", () => {
    const origin = { act: "repaint", song: "take-1", start_seconds: 1, stop_seconds: 2.5 };
    const told = Object.fromEntries(
      facts({ ...made, request: { origin } }, { torch: "2", dtype: "float32", device: "cpu" }),
    );
    expect(told["Made from"]).toBe("repaint of take-1, 1 s to 2.5 s");
    expect(told.Torch).toBe("2, float32");
    expect(told["Drawn by"]).toBe("cpu");
  });
});
