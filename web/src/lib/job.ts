interface Progress {
  kind: string;
  state: string;
  stage: string;
  level: number;
  takes: readonly string[];
}

const MADE: Record<string, string> = {
  compose: "Composing",
  continue: "Continuing",
  repaint: "Repainting",
  prime: "Going on from your sound",
};

/** What a job is doing, for people. */
export function doing({ kind, state, stage, level, takes }: Progress): string {
  if (state === "queued") return "Waiting for its turn";
  if (state === "cancelled") return "Stopped: what was made is kept";
  if (kind === "upload") return "Reading your sound";
  if (kind === "map") return stage === "listen" ? "Listening to your songs" : "Drawing the map";
  if (stage === "decode") return "Making it audible";
  if (kind === "refine" || level === 0) return "Refining";
  return takes.length > 1 ? `${MADE[kind] ?? "Making"} ${takes.length} takes` : (MADE[kind] ?? "Making");
}
