import { createHmac, randomBytes, randomUUID, timingSafeEqual } from "node:crypto";
import { link, mkdir, open, rm } from "node:fs/promises";
import { constants } from "node:fs";
import { dirname } from "node:path";
import process from "node:process";
import { RuntimeError } from "../../base/errors.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { openRegular } from "../../linux/file/index.ts";

const keyBytes = 32;

/** The code by which a node knows the checkpoints that it made: HMAC-SHA256 with a key that never leaves it. */
export class NodeSeal {
  readonly #path: string;
  #key: Promise<Buffer> | undefined;

  /** `path` is that of the key, which is made when it is first needed. */
  constructor(path: string) {
    this.#path = path;
  }

  /** The code of a text, in hexadecimal. */
  async codeOf(text: string): Promise<string> {
    return createHmac("sha256", await this.#load())
      .update(text)
      .digest("hex");
  }

  /** Whether `code` is the code of this text. Takes the same time for every code. */
  async isOwn(text: string, code: string): Promise<boolean> {
    const [own, other] = [Buffer.from(await this.codeOf(text)), Buffer.from(code)];
    return own.length === other.length && timingSafeEqual(own, other);
  }

  #load(): Promise<Buffer> {
    this.#key ??= loadKey(this.#path);
    // After a failure, the next caller tries again.
    this.#key.catch(() => {
      this.#key = undefined;
    });
    return this.#key;
  }
}

async function loadKey(path: string): Promise<Buffer> {
  const doing = `read the key of checkpoints "${path}"`;
  try {
    return await readKey(path, doing);
  } catch (cause) {
    if (errnoCode(cause) !== "ENOENT") throw systemError(doing, cause);
  }
  await makeKey(path);
  return await readKey(path, doing);
}

async function readKey(path: string, doing: string): Promise<Buffer> {
  await using file = await openRegular(path, constants.O_RDONLY, doing);
  const info = await file.stat();
  const key = info.size === keyBytes ? await file.readFile() : Buffer.alloc(0);
  if (key.length === keyBytes && info.uid === process.getuid?.() && (info.mode & 0o077) === 0) {
    return key;
  }
  throw new RuntimeError(
    "failed-precondition",
    `${doing}: it must have ${keyBytes} bytes, be root's and have mode 0600. Remove it for a new key; checkpoints of the old one are then not this node's any more`,
  );
}

/**
 * It gets its name when it is complete and on the disk: no checkpoint may have the code of a key that is lost. Of two that
 * are made at once, the first one counts.
 */
async function makeKey(path: string): Promise<void> {
  const part = `${path}.${randomUUID()}`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await using undo = new AsyncDisposableStack();
    await using file = await open(part, "wx", 0o600);
    undo.defer(() => rm(part, { force: true }));
    await file.writeFile(randomBytes(keyBytes));
    await file.sync();
    await link(part, path).catch((cause: unknown) => {
      if (errnoCode(cause) !== "EEXIST") throw cause;
    });
    await using names = await open(dirname(path));
    await names.sync();
  } catch (cause) {
    throw systemError(`make the key of checkpoints "${path}"`, cause);
  }
}
