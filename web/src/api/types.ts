import type { components } from "./schema";

type Schemas = components["schemas"];

export type Take = Schemas["TakeOut"];
export type Song = Schemas["SongOut"];
export type SongCard = Schemas["SongCard"];
export type SongChanges = Schemas["SongChanges"];
export type Begun = Schemas["Begun"];
export type Job = Schemas["JobOut"];
export type Model = Schemas["Model"];
export type Status = Schemas["Status"];
export type BinnedSong = Schemas["BinnedSong"];
export type Names = Schemas["Names"];
export type ComposeAsk = Schemas["ComposeIn"];
export type ContinueAsk = Schemas["ContinueIn"];
export type RepaintAsk = Schemas["RepaintIn"];
export type Map = Schemas["MapOut"];
export type MapPoint = Schemas["MapPoint"];
export type TimedLyrics = Schemas["TimedLyricsOut"];
export type Provenance = Schemas["Provenance"];
export type Upload = Schemas["Upload"];
export type Format = "flac" | "mp3" | "wav";
