/** Where the objects of one kind outlive the daemon. */
export interface RecordTable<T> {
  /** All records that can be read, oldest first. The others are set aside and reported. */
  load(): readonly T[];
  /** Writes the record whole, new or not. A crash of the daemon after it returns does not lose it. */
  put(record: T): void;
  /** Forgets the record; no error when there is none. */
  delete(key: string): void;
}

/** A record that could not be read. It is kept, and it stops nothing. */
export interface SetAsideRecord {
  readonly kind: string;
  readonly id: string;
  readonly reason: string;
}
