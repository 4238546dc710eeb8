/** What a key does while nothing is being typed. */
export type Command =
  | { act: "toggle" }
  | { act: "skip"; seconds: number }
  | { act: "take"; number: number }
  | { act: "sibling"; by: 1 | -1 }
  | { act: "level" }
  | { act: "search" }
  | { act: "help" }
  | { act: "choose" }
  | { act: "undo" };

export const KEYS: readonly { keys: string[]; does: string }[] = [
  { keys: ["Space"], does: "Play or pause" },
  { keys: ["←", "→"], does: "5 seconds back or on (1 with Shift)" },
  { keys: ["1", "–", "9"], does: "Hear that take, at the same moment" },
  { keys: ["↑", "↓"], does: "The take before or after" },
  { keys: ["Q"], does: "Change between draft and refined" },
  { keys: ["C"], does: "Choose the take that is heard" },
  { keys: ["U"], does: "Undo the last step" },
  { keys: ["/"], does: "Search the library" },
  { keys: ["?"], does: "This list" },
];

interface Pressed {
  key: string;
  shiftKey: boolean;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
}

export function command(pressed: Pressed): Command | null {
  if (pressed.ctrlKey || pressed.metaKey || pressed.altKey) return null;
  const step = pressed.shiftKey ? 1 : 5;
  switch (pressed.key) {
    case " ":
      return { act: "toggle" };
    case "ArrowLeft":
      return { act: "skip", seconds: -step };
    case "ArrowRight":
      return { act: "skip", seconds: step };
    case "ArrowUp":
      return { act: "sibling", by: -1 };
    case "ArrowDown":
      return { act: "sibling", by: 1 };
    case "/":
      return { act: "search" };
    case "?":
      return { act: "help" };
  }
  const letter = pressed.key.toLowerCase();
  if (letter === "q") return { act: "level" };
  if (letter === "c") return { act: "choose" };
  if (letter === "u") return { act: "undo" };
  return /^[1-9]$/.test(pressed.key) ? { act: "take", number: Number(pressed.key) } : null;
}

/** The moment that a key on a slider over music of so many seconds goes to, null for a key that does nothing there. */
export function moment(pressed: Pressed, time: number, seconds: number): number | null {
  if (pressed.altKey || pressed.ctrlKey || pressed.metaKey) return null;
  const step = pressed.shiftKey ? 1 : 5;
  const moves: Record<string, number> = {
    ArrowLeft: time - step,
    ArrowDown: time - step,
    ArrowRight: time + step,
    ArrowUp: time + step,
    Home: 0,
    End: seconds,
  };
  const to = moves[pressed.key];
  return to === undefined ? null : Math.max(0, Math.min(seconds, to));
}

/** Do what a key does on a slider over music: go to another moment. */
export function slide(
  pressed: KeyboardEvent,
  time: number,
  seconds: number,
  onseek: (to: number) => void,
): void {
  const to = moment(pressed, time, seconds);
  if (to === null) return;
  pressed.preventDefault();
  onseek(to);
}

/** Whether a command is given again and again while its key is held down. */
export function repeats(wanted: Command): boolean {
  return wanted.act === "skip" || wanted.act === "sibling";
}

const TYPING =
  "input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]";
const PRESSABLE = "button, a, summary, input:not([type=range]), select, [role=button], [role=treeitem]";

/** Whether a key belongs to what has the focus: text that is typed, a button that Space presses, a slider's arrows. */
export function belongsTo(target: EventTarget | null, key: string): boolean {
  if (!(target instanceof Element)) return false;
  if (target.closest(TYPING) || target.closest("dialog")) return true;
  if (key === " " || key === "Enter") return target.closest(PRESSABLE) !== null;
  return (
    key.startsWith("Arrow") && target.closest("input[type=range], input[type=radio], [role=slider]") !== null
  );
}
