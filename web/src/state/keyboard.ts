import { belongsTo, command, repeats, type Command } from "../lib/keys";

type Listener = (command: Command) => boolean;

const listeners = new Set<Listener>();

/** Be told of commands; the last one to have asked comes first, and true means that it is done. For use in an effect. */
export function onCommand(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function pressed(event: KeyboardEvent): void {
  if (event.defaultPrevented || belongsTo(event.target, event.key)) return;
  const wanted = command(event);
  if (!wanted) return;
  if (event.repeat && !repeats(wanted)) return event.preventDefault();
  for (const listener of [...listeners].reverse()) {
    if (!listener(wanted)) continue;
    event.preventDefault();
    return;
  }
}
