import { stat } from "node:fs/promises";
import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import { readRegular } from "../../linux/file/index.ts";
import {
  type BlockIoClasses,
  parseBlockIoClasses,
  parseRdtConfig,
  type RdtConfig,
} from "../../oci-spec/index.ts";

// A file with a hundred classes has some 30 KiB.
const maxBytes = 1024 * 1024;

/** A file in YAML that is read again when it has changed. */
export class ClassFile<Content> {
  readonly #path: string;
  readonly #parse: (text: string, path: string) => Promise<Content>;
  #known: { readonly stamp: string; readonly content: Content } | undefined;

  constructor(path: string, parse: (text: string, path: string) => Promise<Content>) {
    this.#path = path;
    this.#parse = parse;
  }

  /** The content, and a text that is another one after a change. Errors: those of `parse`. */
  async current(): Promise<{ readonly stamp: string; readonly content: Content }> {
    const stamp = await this.#stamp();
    if (this.#known?.stamp === stamp) return this.#known;
    // A change after the stamp was taken is found by the next call.
    const content = await this.#parse(await readClassFile(this.#path), this.#path);
    this.#known = { stamp, content };
    return this.#known;
  }

  async #stamp(): Promise<string> {
    try {
      const info = await stat(this.#path, { bigint: true });
      return [info.dev, info.ino, info.size, info.mtimeNs, info.ctimeNs].join();
    } catch (cause) {
      throw wrap(`read "${this.#path}"`, cause);
    }
  }
}

/** Reads the text of a file of classes, which is not large. */
async function readClassFile(path: string): Promise<string> {
  const doing = `read "${path}"`;
  const info = await stat(path).catch((cause: unknown) => {
    throw wrap(doing, cause);
  });
  if (info.size > maxBytes) {
    const text = `${doing}: it has ${info.size} bytes, at most ${maxBytes} are read`;
    throw new RuntimeError("invalid-argument", text);
  }
  return readRegular(path, doing);
}

/** The classes of block I/O in the text of a file. `invalid-argument` names the file and what is wrong in it. */
export function parseBlockIoFile(text: string, path: string): Promise<BlockIoClasses> {
  return parseFile(text, path, parseBlockIoClasses);
}

/** The configuration of RDT in the text of a file. Errors as of parseBlockIoFile(). */
export function parseRdtFile(text: string, path: string): Promise<RdtConfig> {
  return parseFile(text, path, parseRdtConfig);
}

async function parseFile<Content>(
  text: string,
  path: string,
  parse: (value: unknown) => Content,
): Promise<Content> {
  const { parse: parseYaml } = await import("yaml");
  try {
    // As goresctrl's parser: YAML 1.1, and numbers keep their digits.
    const options = { version: "1.1", intAsBigInt: true, logLevel: "error" } as const;
    return parse(parseYaml(text, options));
  } catch (cause) {
    const why = messageOf(cause).split("\n")[0] ?? "";
    throw new RuntimeError("invalid-argument", `read "${path}": ${why}`, { cause });
  }
}
