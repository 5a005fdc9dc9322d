import { join } from "node:path";

import { type Credentials, none, readAuth } from "../credentials.ts";
import { parseDuration } from "../duration.ts";
import { asRecord } from "../failure.ts";
import type { Answer } from "./answers.ts";
import { matchesImage, parseImagePattern } from "./match-image.ts";
import { askProgram, ProgramFailure } from "./program.ts";
import type { Provider } from "./provider-config.ts";

const maxAuths = 1000;

/** What a provider has answered: credentials by the images that they are for, as kubelet tries them. */
export type ProviderAnswer = readonly {
  readonly matches: string;
  readonly found: Credentials;
}[];

/**
 * Asks a provider for the credentials of an image without tag and digest (kubelet,
 * credentialprovider.kubelet.k8s.io). Rejects with a {@link ProgramFailure}.
 */
export async function askProvider(
  provider: Provider,
  image: string,
  options: {
    readonly binDir: string;
    readonly env: Readonly<Record<string, string>>;
    readonly timeoutMs: number;
  },
): Promise<Answer<ProviderAnswer>> {
  const { name, apiVersion, args, defaultLifeMs } = provider;
  const file = join(options.binDir, name);
  const printed = await askProgram({
    file,
    args,
    env: { ...options.env, ...provider.env },
    input: JSON.stringify({ kind: "CredentialProviderRequest", apiVersion, image }),
    timeoutMs: options.timeoutMs,
  });
  const refuse = (why: string): ProgramFailure =>
    new ProgramFailure(`run "${file}": its answer ${why}`);
  const raw = asRecord(printed);
  if (raw?.["kind"] !== "CredentialProviderResponse" || raw["apiVersion"] !== apiVersion) {
    throw refuse(`is not a CredentialProviderResponse of ${apiVersion}`);
  }
  const scope = (["Image", "Registry", "Global"] as const).find(
    (one) => one === raw["cacheKeyType"],
  );
  if (scope === undefined) throw refuse('has no cacheKeyType "Image", "Registry" or "Global"');
  const life = raw["cacheDuration"] ?? undefined;
  const lifeMs = typeof life === "string" ? parseDuration(life) : undefined;
  if (life !== undefined && lifeMs === undefined) throw refuse("has no valid cacheDuration");
  const auths = readAuths(raw["auth"], `"${file}"`);
  if (auths === undefined) throw refuse("has no valid auth");
  const [ofImage, ofRegistry, ofAll] = questionsOf(image);
  const key = { Image: ofImage, Registry: ofRegistry, Global: ofAll }[scope];
  return { value: auths, lifeMs: lifeMs ?? defaultLifeMs, key };
}

/** The questions whose answers hold for an image: of itself, of its registry, and of all images. */
export function questionsOf(image: string): readonly [string, string, string] {
  return [`image ${image}`, `registry ${image.replace(/\/.*/s, "")}`, "all"];
}

/** The credentials in an answer for an image. Undefined where it has none. */
export function authFor(auths: ProviderAnswer, image: string): Credentials | undefined {
  const fits = ({ matches }: { readonly matches: string }): boolean => {
    const pattern = parseImagePattern(matches.replace(/^https?:\/\//, ""));
    return pattern !== undefined && matchesImage(pattern, image);
  };
  return auths.find(fits)?.found;
}

function readAuths(value: unknown, file: string): ProviderAnswer | undefined {
  const record = asRecord(value ?? {});
  if (record === undefined) return undefined;
  const auths: { matches: string; found: Credentials }[] = [];
  // kubelet tries them in the reverse order of the names, so that longer paths come first.
  const names = Object.keys(record).sort().reverse();
  if (names.length > maxAuths) return undefined;
  for (const matches of names) {
    const raw = asRecord(record[matches]);
    const [username, password] = [raw?.["username"], raw?.["password"]];
    if (typeof username !== "string" || typeof password !== "string") return undefined;
    const given = { username, password, auth: "", serverAddress: "" };
    const found =
      username === ""
        ? none("none")
        : readAuth({ ...given, identityToken: "", registryToken: "" }, file);
    if (found.kind !== "none") auths.push({ matches, found });
  }
  return auths;
}
