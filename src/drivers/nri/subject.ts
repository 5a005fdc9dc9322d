/** What an event is about, by ids. */
export interface Subject {
  readonly sandbox: string;
  readonly container?: string | undefined;
}

/** The subject in an error. */
export function describeSubject({ sandbox, container }: Subject): string {
  return container === undefined ? `sandbox "${sandbox}"` : `container "${container}"`;
}
