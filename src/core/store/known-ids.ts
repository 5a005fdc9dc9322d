/**
 * Ids of objects that a sweep must keep. Asked for each entry found, after it was found: an object may be
 * created during a sweep, and is known before anything of it is created.
 */
export type KnownIds = Pick<ReadonlySet<string>, "has">;
