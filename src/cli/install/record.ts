import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { errnoCode } from "../../base/system-error.ts";
import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";

/** What davit install has made, in /var/lib/davit/install.json: davit uninstall removes exactly that. */
export interface InstallRecord {
  readonly format: 1;
  /** The davit that made the last change. */
  readonly version: string;
  /** The directory of that davit. */
  readonly home: string;
  /** The SHA-256 of each file as it was written, by its path. */
  readonly files: Readonly<Record<string, string>>;
  /** The target of each symbolic link, by its path. */
  readonly links: Readonly<Record<string, string>>;
  /** The directories that did not exist before, those above others first. */
  readonly directories: readonly string[];
  /** Whether it enabled the service. */
  readonly enabled: boolean;
  /** The chains for host ports that the machine had before: those of other programs. */
  readonly chainsBefore: readonly string[];
}

const format = 1;

/** The SHA-256 of a text, in hex. */
export function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/**
 * Reads the record at `path`; undefined if there is none.
 *
 * `failed-precondition` for the record of a newer davit, `data-loss` for one that cannot be read.
 */
export function readRecord(path: string): InstallRecord | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return undefined;
    throw wrap(`read the record of the installation "${path}"`, cause);
  }
  return parseRecord(text, path);
}

/** As {@link readRecord}, for the text of a record. */
export function parseRecord(text: string, path: string): InstallRecord {
  const doing = `read the record of the installation "${path}"`;
  const advice = 'move it away, and "davit install" begins a new one';
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new RuntimeError("data-loss", `${doing}: ${messageOf(cause)}; ${advice}`, { cause });
  }
  const head = value as { readonly format?: unknown; readonly version?: unknown } | null;
  if (typeof head?.format === "number" && head.format > format) {
    throw new RuntimeError(
      "failed-precondition",
      `${doing}: davit ${String(head.version)} made it in format ${head.format}, this davit knows format ` +
        `${format}; use that davit`,
    );
  }
  if (!isRecord(value as Partial<InstallRecord> | null)) {
    throw new RuntimeError("data-loss", `${doing}: it is damaged; ${advice}`);
  }
  return value as InstallRecord;
}

function isRecord(value: Partial<InstallRecord> | null): value is InstallRecord {
  return (
    value?.format === format &&
    typeof value.version === "string" &&
    typeof value.home === "string" &&
    isTextMap(value.files) &&
    isTextMap(value.links) &&
    isTexts(value.directories) &&
    typeof value.enabled === "boolean" &&
    isTexts(value.chainsBefore)
  );
}

function isTextMap(value: unknown): boolean {
  return typeof value === "object" && value !== null && isTexts(Object.values(value));
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}
