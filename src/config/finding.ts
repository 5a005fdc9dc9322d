/** An error in a configuration. */
export interface Finding {
  /** The dotted path of the key, as far as it is known. */
  readonly key: string;
  readonly message: string;
}
