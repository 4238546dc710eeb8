/**
 * What is being typed into a field: it stays, whatever news come in, until it is saved. `save` says whether it was;
 * what was not stays in the field, and is tried again when that is left the next time.
 */
export class Draft {
  #typed = $state<string | null>(null);
  #saving = $state(false);

  constructor(private readonly save: (text: string) => Promise<boolean>) {}

  /** What the field shows, where `kept` is what is known. */
  shown(kept: string): string {
    return this.#typed ?? kept;
  }

  /** Whether what was typed is on its way. */
  get saving(): boolean {
    return this.#saving;
  }

  type(text: string): void {
    this.#typed = text;
  }

  /** The field is left: save what was typed, and what is typed meanwhile, if it is another than what is known. */
  async leave(kept: string): Promise<void> {
    if (this.#saving) return;
    this.#saving = true;
    for (let text = this.#typed; text !== null; text = this.#typed) {
      if (text !== kept && !(await this.save(text))) break;
      kept = text;
      if (this.#typed === text) this.#typed = null;
    }
    this.#saving = false;
  }
}
