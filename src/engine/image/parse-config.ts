import { type Digest, isDigest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";
import type { ImageConfig } from "../../core/image/index.ts";

/** The contents of an image config: the defaults of containers, and the layers. */
export interface ParsedImageConfig {
  readonly config: ImageConfig;
  /** Digests of the uncompressed layers, lowest first. */
  readonly diffIds: readonly Digest[];
}

type Json = Readonly<Record<string, unknown>>;

/**
 * Parses an image config (image-spec, config.md; Docker's is a superset). `data-loss` with the name of
 * the field for an invalid config. Absent fields have their empty value.
 *
 * Text with a NUL is invalid: arguments, variables and paths end there (execve(2), open(2)), so a
 * container would get something else than tools show. Half of a surrogate pair, which JSON can
 * represent and UTF-8 cannot, becomes U+FFFD, as with Go's encoding/json.
 */
export function parseImageConfig(json: string): ParsedImageConfig {
  const root = object(parse(json), "the config");
  // The id of an artifact is the digest of its manifest: no image may have the same id.
  if (root["schemaVersion"] !== undefined) refuse("it is a manifest");
  const config = object(root["config"] ?? {}, "config");
  const rootfs = object(root["rootfs"] ?? {}, "rootfs");
  return {
    config: {
      entrypoint: texts(config["Entrypoint"], "config.Entrypoint"),
      cmd: texts(config["Cmd"], "config.Cmd"),
      env: texts(config["Env"], "config.Env"),
      workingDir: text(config["WorkingDir"], "config.WorkingDir"),
      user: userText(config["User"]),
      stopSignal: text(config["StopSignal"], "config.StopSignal"),
      volumes: Object.keys(object(config["Volumes"] ?? {}, "config.Volumes")).map((path) =>
        usable(path, "config.Volumes"),
      ),
      labels: labels(config["Labels"]),
    },
    diffIds: texts(rootfs["diff_ids"], "rootfs.diff_ids").map((id) => {
      if (isDigest(id)) return id;
      return refuse(`rootfs.diff_ids has ${quote(id)}, which is not a sha256 digest`);
    }),
  };
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return refuse("it is not JSON");
  }
}

function refuse(why: string): never {
  throw new RuntimeError("data-loss", `read image config: ${why}`);
}

function object(value: unknown, field: string): Json {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Json;
  return refuse(`${field} is not an object`);
}

function text(value: unknown, field: string): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? usable(value, field) : refuse(`${field} is not a string`);
}

// A user name has at most 32 characters (useradd(8)), and a group may follow. Every list of images shows it.
const maxUserLength = 256;

function userText(value: unknown): string {
  const user = text(value, "config.User");
  if (user.length <= maxUserLength) return user;
  return refuse(`config.User has ${user.length} characters; the maximum is ${maxUserLength}`);
}

function texts(value: unknown, field: string): readonly string[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) {
    return value.map((item) => usable(item, field));
  }
  return refuse(`${field} is not a list of strings`);
}

function usable(value: string, field: string): string {
  if (value.includes("\0")) {
    refuse(`${field} has a NUL in ${quote(value)}; build the image without it`);
  }
  return value.toWellFormed();
}

function labels(value: unknown): Readonly<Record<string, string>> {
  const entries = Object.entries(object(value ?? {}, "config.Labels"));
  return Object.fromEntries(
    entries.map(([key, label]) => [key, text(label, `config.Labels.${key.slice(0, 100)}`)]),
  );
}
