interface Place {
  x: number;
  y: number;
}

/** The box around places; never flat, so that one can divide by its sides. */
export function extent(places: readonly Place[]): {
  left: number;
  top: number;
  width: number;
  height: number;
} {
  const xs = places.map((place) => place.x);
  const ys = places.map((place) => place.y);
  const left = Math.min(...xs);
  const top = Math.min(...ys);
  if (places.length === 0) return { left: 0, top: 0, width: 1, height: 1 };
  return { left, top, width: Math.max(...xs) - left || 1, height: Math.max(...ys) - top || 1 };
}

/** The places closest to one, itself left out. */
export function nearest<T extends Place>(to: T, places: readonly T[], count: number): T[] {
  const far = (place: T): number => (place.x - to.x) ** 2 + (place.y - to.y) ** 2;
  return places
    .filter((place) => place !== to)
    .sort((one, other) => far(one) - far(other))
    .slice(0, count);
}

export interface Box {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

/** The things whose boxes can be shown beside what is `there`, earlier ones first: what would cover any is left out. */
export function apart<T>(things: readonly T[], boxOf: (thing: T) => Box, there: readonly Box[] = []): T[] {
  const taken = [...there];
  return things.filter((thing) => {
    const box = boxOf(thing);
    const covers = taken.some(
      (other) =>
        box.left < other.right && other.left < box.right && box.top < other.bottom && other.top < box.bottom,
    );
    if (!covers) taken.push(box);
    return !covers;
  });
}
