/** How bad it is: `error` keeps pods from running, `warning` will hurt, `note` is good to know. */
export type Severity = "ok" | "note" | "warning" | "error";

/** What can be said about one thing: how bad that is, and why it matters. */
export interface Kind {
  readonly severity: Severity;
  /** One sentence for a person; empty for severity `ok`. */
  readonly why: string;
}

/** What a person, or `--fix`, does about a finding. */
export interface Fix {
  /** A command or a sentence. */
  readonly text: string;
  /** Present only where `--fix` may do it: it takes nothing away from anybody. */
  readonly apply?: ApplyFix;
}

/** Applies a fix. Resolves with what was done, for a person. */
export type ApplyFix = () => Promise<string>;

/** Earlier ids, which JSON output still carries for the scripts that look for them. */
export const formerIds: Readonly<Record<string, string>> = {
  "disk.directory-missing": "disk.folder-missing",
  "disk.not-a-directory": "disk.not-a-folder",
  "network.no-directory": "network.no-folder",
};

/** One thing that a check found. */
export interface Finding extends Kind {
  /** `group.name`, one of the ids of the group's catalogue. */
  readonly id: string;
  readonly found: string;
  readonly fix?: Fix;
}

/** All that the checks of one group can find. */
export interface Catalogue<Name extends string = string> {
  readonly group: string;
  readonly kinds: Readonly<Record<Name, Kind>>;
  /** A finding of this catalogue. */
  report(name: Name, found: string, fix?: Fix | string): Finding;
}

/** Makes the catalogue of a group; `kinds` has severity and reason by name. */
export function catalogue<Name extends string>(
  group: string,
  kinds: Readonly<Record<Name, readonly [severity: Severity, why: string]>>,
): Catalogue<Name> {
  const entries = Object.entries<readonly [Severity, string]>(kinds);
  const table = Object.fromEntries(
    entries.map(([name, [severity, why]]) => [name, { severity, why }]),
  ) as Record<Name, Kind>;
  return {
    group,
    kinds: table,
    report: (name, found, fix) => ({
      id: `${group}.${name}`,
      ...table[name],
      found,
      ...(fix === undefined ? {} : { fix: typeof fix === "string" ? { text: fix } : fix }),
    }),
  };
}

/** The ids that a catalogue has. */
export function idsOf({ group, kinds }: Catalogue): readonly string[] {
  return Object.keys(kinds).map((name) => `${group}.${name}`);
}
