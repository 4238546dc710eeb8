type Plain = Record<string, unknown>;

const isPlain = (value: unknown): value is Plain =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const at = (value: unknown, name: string): unknown => (isPlain(value) ? value[name] : undefined);

/** The record of what made a take as pairs of a name and a text for people; what it does not say is left out. */
export function facts(made: Plain, engine: Plain | null): [name: string, value: string][] {
  const { request, model } = made;
  const hash = at(model, "sha256");
  const pairs: [string, unknown][] = [
    ["Model", [at(model, "name"), typeof hash === "string" && hash.slice(0, 12)]],
    ["Artist", at(request, "artist")],
    ["Mixed with", mixed(at(request, "mix"))],
    ["Genres", at(request, "genres")],
    ["Form", form(at(request, "form"))],
    ["Seed", at(request, "seed")],
    ["Length", seconds(at(request, "seconds"))],
    ["Began with", at(at(request, "prime"), "path")],
    ["Made from", from(at(request, "origin"))],
    ["Decoded level", made.level],
    ["Orchestrion", made.orchestrion],
    ["Drawn by", ["processor", "device"].map((name) => at(engine, name))],
    ["Torch", [at(engine, "torch"), at(engine, "dtype"), at(engine, "weights")]],
  ];
  return pairs
    .map(([name, value]): [string, string] => [name, text(value)])
    .filter(([, value]) => value !== "");
}

function text(value: unknown): string {
  if (Array.isArray(value)) return value.map(text).filter(Boolean).join(", ");
  return value === null || value === undefined || value === false ? "" : String(value);
}

function seconds(value: unknown): string {
  return typeof value === "number" ? `${Number(value.toFixed(2))} s` : "";
}

function mixed(mix: unknown): string {
  const [artist, share] = [at(mix, "artist"), at(mix, "share")];
  return typeof share === "number" ? `${text(artist)}, ${Math.round(share * 100)} %` : "";
}

/** What comes back: letters, or parts of which each is told by where it was and where it is again. */
function form(value: unknown): string {
  if (!Array.isArray(value)) return text(value);
  return value
    .map((part) => `${seconds(at(part, "of_seconds"))} again at ${seconds(at(part, "start_seconds"))}`)
    .join(", ");
}

function from(origin: unknown): string {
  const act = at(origin, "act");
  if (typeof act !== "string") return "";
  const span = [at(origin, "start_seconds"), at(origin, "stop_seconds")]
    .map(seconds)
    .filter(Boolean)
    .join(" to ");
  return `${act} of ${text(at(origin, "song"))}${span ? `, ${span}` : ""}`;
}
