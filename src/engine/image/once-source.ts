import type { FoundSignature, SignatureSource } from "../../core/image/index.ts";

/** Asks its source once, and has what that found. */
export class OnceSource implements SignatureSource {
  found: readonly FoundSignature[] | undefined;
  readonly #source: SignatureSource;
  #asked: Promise<readonly FoundSignature[]> | undefined;

  constructor(source: SignatureSource) {
    this.#source = source;
  }

  async signatures(signal: AbortSignal): Promise<readonly FoundSignature[]> {
    this.#asked ??= this.#source.signatures(signal);
    this.found = await this.#asked;
    return this.found;
  }
}
