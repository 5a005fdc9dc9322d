/** `error` keeps pods from running, `warning` will cause trouble, `note` is for information. */
export type Severity = "ok" | "note" | "warning" | "error";

/** The severity of a finding, and why it matters. */
interface Kind {
  readonly severity: Severity;
  /** One sentence for the report; empty for severity `ok`. */
  readonly why: string;
}

/** How to fix a finding. */
export interface Fix {
  /** A command, or a sentence that says what to do. */
  readonly text: string;
  /** Present only where `--fix` may apply it: it removes nothing that is in use. */
  readonly apply?: ApplyFix;
}

/** Applies a fix. Resolves with a sentence that says what was done. */
type ApplyFix = () => Promise<string>;

/** Ids of earlier versions, which JSON output still carries for scripts that know them. */
const formerIds: Readonly<Record<string, string>> = {
  "disk.directory-missing": "disk.folder-missing",
  "disk.not-a-directory": "disk.not-a-folder",
  "network.no-directory": "network.no-folder",
};

/** One thing that a check found. */
export interface Finding extends Kind {
  /** `group.name`, one of the ids of the catalogue of the group. A new name keeps the earlier one in `formerId`. */
  readonly id: string;
  /** Its id in an earlier version, if that was another one. */
  readonly formerId?: string;
  /** What was found on this machine. */
  readonly found: string;
  readonly fix?: Fix;
}

/** All findings that a group of checks can report. */
export interface Catalogue<Name extends string = string> {
  readonly group: string;
  readonly kinds: Readonly<Record<Name, Kind>>;
  /** Makes a finding of this catalogue. */
  report(name: Name, found: string, fix?: Fix | string): Finding;
}

/** Makes the catalogue of a group; `kinds` has the severity and the reason by name. */
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
    report: (name, found, fix) => {
      const id = `${group}.${name}`;
      const formerId = formerIds[id];
      return {
        id,
        ...(formerId === undefined ? {} : { formerId }),
        ...table[name],
        found,
        ...(fix === undefined ? {} : { fix: typeof fix === "string" ? { text: fix } : fix }),
      };
    },
  };
}

/** The ids of all findings of a catalogue. */
export function idsOf({ group, kinds }: Catalogue): readonly string[] {
  return Object.keys(kinds).map((name) => `${group}.${name}`);
}
