/** What a colour of app.css is at this moment, for a canvas. */
export function colour(name: string, within: HTMLElement): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  within.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** The parts of `rgb(1, 2, 3)` or of `color(srgb 0.1 0.2 0.3)`, each from 0 to 1. */
export function parts(value: string): [number, number, number] {
  const [red = 0, green = 0, blue = 0] = (value.match(/[\d.]+(?![\w-]*\()/g) ?? []).map(Number);
  const scale = value.startsWith("rgb") ? 255 : 1;
  return [red / scale, green / scale, blue / scale];
}

/** As many colours as asked for (red, green, blue, opacity) that lead from the first stop to the last. */
export function ramp(stops: readonly [number, number, number][], count: number): number[][] {
  return Array.from({ length: count }, (_, index) => {
    const place = (index / Math.max(1, count - 1)) * (stops.length - 1);
    const below = Math.min(Math.floor(place), stops.length - 2);
    const [from, to] = [stops[below], stops[below + 1]] as [number[], number[]];
    return [...from.map((part, axis) => part + ((to[axis] ?? 0) - part) * (place - below)), 1];
  });
}
