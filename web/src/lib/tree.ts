/** What a drawing of takes needs to know of one: where it leaves its parent, and the seconds that are its own. */
export interface Branch {
  id: string;
  parent: string | null;
  start: number;
  stop: number;
}

export interface Placed<T extends Branch> {
  take: T;
  row: number;
}

/**
 * A row for every take, on an axis of seconds: children below their parent, except that the first one that goes
 * on where its parent ends stays in the parent's row. Orphans are treated as roots.
 */
export function placed<T extends Branch>(takes: readonly T[]): Placed<T>[] {
  const known = new Set(takes.map((take) => take.id));
  const children = new Map<string | null, T[]>();
  for (const take of takes) {
    const parent = take.parent !== null && known.has(take.parent) ? take.parent : null;
    children.set(parent, [...(children.get(parent) ?? []), take]);
  }
  const found: Placed<T>[] = [];
  let rows = 0;
  const visit = (take: T, row: number): void => {
    found.push({ take, row });
    const below = children.get(take.id) ?? [];
    const next = below.find((child) => Math.abs(child.start - take.stop) < 0.05 && child.stop > take.stop);
    if (next) visit(next, row);
    for (const child of below) if (child !== next) visit(child, rows++);
  };
  for (const root of children.get(null) ?? []) visit(root, rows++);
  return found;
}

/** The ids from the root to a take. */
export function lineage(takes: readonly Branch[], id: string | null): string[] {
  const byId = new Map(takes.map((take) => [take.id, take]));
  const path: string[] = [];
  for (let at = id ? byId.get(id) : undefined; at && !path.includes(at.id); at = byId.get(at.parent ?? "")) {
    path.unshift(at.id);
  }
  return path;
}

/** Round seconds for the marks of an axis about `wanted` marks long. */
export function marks(seconds: number, wanted: number): number[] {
  const steps = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
  const step = steps.find((one) => seconds / one <= wanted) ?? 3600;
  return Array.from({ length: Math.floor(seconds / step + 1e-6) + 1 }, (_, index) => index * step);
}

interface Seeded {
  id: string;
  parent: string | null;
  seed: number;
}

/** A seed that neither a take nor any that was made from it has: the same one again would make the same music. */
export function seedAfter(take: Seeded, takes: readonly Seeded[]): number {
  const others = takes.filter((one) => one.parent === take.id);
  return 1 + Math.max(take.seed, ...others.map((one) => one.seed));
}
