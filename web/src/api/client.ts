import createClient from "openapi-fetch";
import type { paths } from "./schema";
import type { ComposeAsk, ContinueAsk, Format, RepaintAsk, SongChanges, Upload } from "./types";

/** The service said no: what is wrong, and the way out. */
export class Refused extends Error {
  constructor(
    readonly problem: string,
    readonly hint: string,
    readonly status: number,
  ) {
    super(hint ? `${problem}: ${hint}` : problem);
  }
}

const ROOT = new URL(".", document.baseURI).pathname.replace(/\/$/, "");
const LOOK_AGAIN_MILLISECONDS = 200;
const KEPT_ALIVE_BYTES = 60 * 1024;
const client = createClient<paths>({ baseUrl: ROOT });

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

async function given<T>(asking: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await asking;
  } catch (error) {
    if (error instanceof TypeError) {
      throw new Refused("the Studio does not answer", "see whether it still runs, then try again", 0);
    }
    throw error;
  }
  if (answer.response.ok) return answer.data as T;
  const said = answer.error as { error?: string; hint?: string } | undefined;
  throw new Refused(
    said?.error ?? `the Studio answered ${answer.response.status}`,
    said?.hint ?? "try again; its log says more",
    answer.response.status,
  );
}

const ofSong = (song: string) => ({ params: { path: { song } } });
const ofTake = (song: string, take: string) => ({ params: { path: { song, take } } });
const TAKE = "/api/songs/{song}/takes/{take}";

/** Whether a body may be sent while the page is left: browsers take 64 KiB then, of all bodies together. */
export const isSmall = (body: object): boolean =>
  new TextEncoder().encode(JSON.stringify(body)).length < KEPT_ALIVE_BYTES;
const uploaded = (upload: string) =>
  given(client.GET("/api/uploads/{upload}", { params: { path: { upload } } }));

export interface Wanted {
  q: string;
  artist?: string;
  genre?: string;
  tag?: string;
  starred?: boolean;
  sort: "newest" | "title" | "longest";
  limit: number;
}

export const api = {
  status: () => given(client.GET("/api/status")),
  models: async () => (await given(client.GET("/api/models"))).models,

  songs: (query: Wanted) => given(client.GET("/api/songs", { params: { query } })),
  names: () => given(client.GET("/api/names")),
  song: (song: string) => given(client.GET("/api/songs/{song}", ofSong(song))),
  change: (song: string, body: SongChanges) =>
    given(client.PATCH("/api/songs/{song}", { ...ofSong(song), body, keepalive: isSmall(body) })),
  remove: (song: string) => given(client.DELETE("/api/songs/{song}", ofSong(song))),
  bin: async () => (await given(client.GET("/api/bin"))).songs,
  discard: (song: string) => given(client.DELETE("/api/bin/{song}", ofSong(song))),
  restore: (song: string) => given(client.POST("/api/songs/{song}/restore", ofSong(song))),
  undo: (song: string) => given(client.POST("/api/songs/{song}/undo", ofSong(song))),
  redo: (song: string) => given(client.POST("/api/songs/{song}/redo", ofSong(song))),
  exportUrl: (song: string) => `${ROOT}/api/songs/${encodeURIComponent(song)}/export`,
  importSong: (packed: Blob) =>
    given(
      client.POST("/api/songs/import", { body: packed as unknown as string, bodySerializer: (body) => body }),
    ),

  compose: (body: ComposeAsk) => given(client.POST("/api/songs", { body })),
  choose: (song: string, take: string) => given(client.POST(`${TAKE}/choose`, ofTake(song, take))),
  continue: (song: string, take: string, body: ContinueAsk) =>
    given(client.POST(`${TAKE}/continue`, { ...ofTake(song, take), body })),
  repaint: (song: string, take: string, body: RepaintAsk) =>
    given(client.POST(`${TAKE}/repaint`, { ...ofTake(song, take), body })),
  refine: (song: string, take: string) => given(client.POST(`${TAKE}/refine`, ofTake(song, take))),

  audioUrl: (song: string, take: string, level: number) => `${takePath(song, take)}/audio?level=${level}`,
  downloadUrl: (song: string, take: string, level: number, format: Format) =>
    `${takePath(song, take)}/download?format=${format}&level=${level}`,
  peaks: async (song: string, take: string, level: number) =>
    (await given(client.GET(`${TAKE}/peaks`, { params: { path: { song, take }, query: { level } } }))).peaks,
  lyrics: (song: string, take: string) => given(client.GET(`${TAKE}/lyrics`, ofTake(song, take))),
  provenance: (song: string, take: string, level: number) =>
    given(client.GET(`${TAKE}/provenance`, { params: { path: { song, take }, query: { level } } })),

  cancel: (job: string) => given(client.POST("/api/jobs/{job}/cancel", { params: { path: { job } } })),
  resume: (job: string) => given(client.POST("/api/jobs/{job}/resume", { params: { path: { job } } })),
  jobs: async () => (await given(client.GET("/api/jobs"))).jobs,
  eventsUrl: `${ROOT}/api/events`,

  uploaded,
  /** Send sound and wait until the service has read it. */
  upload: async (sound: Blob, name: string): Promise<Upload> => {
    let sent = await given(
      client.POST("/api/uploads", {
        params: { query: { name } },
        body: sound as unknown as string,
        bodySerializer: (body) => body,
        headers: { "content-type": "application/octet-stream" },
      }),
    );
    while (sent.state === "queued" || sent.state === "running") {
      await new Promise((done) => setTimeout(done, LOOK_AGAIN_MILLISECONDS));
      sent = await uploaded(sent.id);
    }
    if (sent.state === "cancelled")
      throw new Refused("the reading of your sound was stopped", "compose again to send it anew", 0);
    if (sent.state !== "done")
      throw new Refused(sent.problem || "this sound cannot be read", "send another one", 0);
    return sent;
  },

  map: () => given(client.GET("/api/map")),
  drawMap: () => given(client.POST("/api/map")),
};

function takePath(song: string, take: string): string {
  return `${ROOT}/api/songs/${encodeURIComponent(song)}/takes/${encodeURIComponent(take)}`;
}
