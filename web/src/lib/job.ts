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

interface Work {
  state: string;
  takes: readonly string[];
}

/**
 * Of the jobs of a song, the oldest first, those that are to be seen: what waits or runs, and what was not finished of
 * takes that are `there`, as far as no later job is at them.
 */
export function unsettled<T extends Work>(jobs: readonly T[], there: readonly string[]): T[] {
  const latest = new Map(jobs.flatMap((job) => job.takes.map((take) => [take, job])));
  return jobs.filter((job) => {
    if (job.state === "queued" || job.state === "running") return true;
    return job.state !== "done" && job.takes.some((take) => there.includes(take) && latest.get(take) === job);
  });
}

/** What a job is doing, for people; of a model with so many levels. */
export function doing({ kind, state, stage, level, takes }: Progress, levels: number): string {
  if (state === "queued") return "Waiting for its turn";
  if (state === "cancelled") return "Stopped: what was made is kept";
  if (kind === "upload") return "Reading your sound";
  if (kind === "map") return stage === "listen" ? "Listening to your songs" : "Drawing the map";
  if (stage === "decode") return "Making it audible";
  // Until it has told of a stage, a job is at no level.
  if (kind === "refine" || (stage && level === 0 && levels > 1)) return "Refining";
  return takes.length > 1 ? `${MADE[kind] ?? "Making"} ${takes.length} takes` : (MADE[kind] ?? "Making");
}
