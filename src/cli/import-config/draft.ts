import {
  builtInHandlers,
  handlerSection,
  sections,
  tomlKey,
  topLevel,
} from "../../config/schema.ts";
import { nriValidator } from "../../config/nri-settings.ts";
import { toml } from "../../config/format.ts";
import type { Reading } from "../../config/setting.ts";
import { verificationSection } from "../../config/verification-settings.ts";
import type { Given, Origin } from "./settings.ts";
import { keyOf } from "./settings.ts";

/** One of davit's settings with its value. */
interface Chosen {
  readonly path: readonly string[];
  readonly value: unknown;
  readonly origins: readonly Origin[];
  readonly comments: readonly string[];
}

/** What a value of the imported configuration has instead of a setting of davit. */
export interface Note {
  readonly origin: Origin;
  /** As TOML; undefined where it may be a secret, or is of no interest. */
  readonly value: string | undefined;
  readonly reason: string;
}

/** A file that davit needs besides its configuration. */
export interface ExtraFile {
  readonly name: string;
  readonly text: string;
  readonly isSecret?: true;
}

interface AnySetting {
  readonly default: unknown;
  readonly read: (raw: unknown) => Reading<unknown>;
}

type Table = Readonly<Record<string, AnySetting>>;

/** davit's configuration while it is made: settings that differ from the defaults, and notes. */
export class Draft {
  readonly #chosen = new Map<string, Chosen>();
  readonly notes: Note[] = [];
  /** Paragraphs for the head of the file. */
  readonly hints: string[] = [];
  /** hosts.toml, by the names of registries, and credentials. */
  readonly hosts: ExtraFile[] = [];
  /** What a base_runtime_spec has to have. */
  readonly baseSpec: SpecPart[] = [];

  /** All settings that were chosen. */
  get chosen(): readonly Chosen[] {
    return [...this.#chosen.values()];
  }

  get(path: readonly string[]): unknown {
    return this.#chosen.get(keyOf(path))?.value;
  }

  /** Chooses a value, unless it is davit's default. One that davit rejects becomes a note. */
  set(path: readonly string[], value: unknown, origin: Origin, ...comments: string[]): void {
    const setting = settingAt(path);
    const reading = setting?.read(value);
    if (setting === undefined || reading === undefined || "allowed" in reading) {
      const allowed = reading !== undefined && "allowed" in reading ? reading.allowed : "a handler";
      const reason = `${keyOf(path)} of davit must be ${allowed}`;
      this.notes.push({ origin, value: toml(value), reason });
      return;
    }
    const key = keyOf(path);
    const before = this.#chosen.get(key);
    if (toml(value) === toml(setting.default)) return void this.#chosen.delete(key);
    const isSame = before !== undefined && toml(before.value) === toml(value);
    const origins = isSame ? [...before.origins, origin] : [origin];
    this.#chosen.set(key, { path, value, origins, comments });
  }

  /** Notes that a value has no counterpart, and why that does not matter or what to do. */
  note({ origin, value }: Pick<Given, "origin" | "value">, reason: string): void {
    this.notes.push({ origin, value: toml(value), reason });
  }

  /** As `note`, without the value. */
  noteKey(origin: Origin, reason: string): void {
    this.notes.push({ origin, value: undefined, reason });
  }
}

/** A part of an OCI runtime spec that the imported configuration asks for. */
export interface SpecPart {
  readonly origin: Origin;
  readonly process?: object;
  readonly linux?: object;
}

function settingAt(path: readonly string[]): AnySetting | undefined {
  const [first = "", second = "", third = "", last = ""] = path;
  if (path.length === 1) return find(topLevel, first);
  if (path.length === 4 && second === "handlers") return handlerSetting(third, last);
  if (second === "verification") return find(verificationSection, third);
  if (second === "default_validator") return find(nriValidator, third);
  const known = Object.entries(sections).find(([name]) => name === first)?.[1];
  return known === undefined ? undefined : find(known.settings, second);
}

function handlerSetting(name: string, key: string): AnySetting | undefined {
  const setting = find(handlerSection, key);
  const isBuiltIn = key === "path" && Object.hasOwn(builtInHandlers, name);
  return setting === undefined || !isBuiltIn ? setting : { ...setting, default: name };
}

function find(section: object, key: string): AnySetting | undefined {
  return Object.entries(section as Table).find(([field]) => tomlKey(field) === key)?.[1];
}
