/**
 * Ids of objects that are not to be swept away. Asked for each thing found, after it was found: an
 * object may come into being while a sweep is under way, and is known before anything of it is made.
 */
export type KnownIds = Pick<ReadonlySet<string>, "has">;
