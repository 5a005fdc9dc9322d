/** What gpg says about a signed message: by whom it is signed, or why it does not count. */
export type GpgAnswer =
  | { readonly signer: string; readonly reason?: undefined }
  | { readonly reason: string; readonly signer?: undefined };

/** What each of these says about the key that made the signature (GnuPG, doc/DETAILS). */
const refusals: Readonly<Record<string, string>> = {
  BADSIG: "the signature is wrong",
  ERRSIG: "the signature is by a key that is not trusted, or of an unknown algorithm",
  EXPSIG: "the signature has expired",
  EXPKEYSIG: "the key of the signature has expired",
  REVKEYSIG: "the key of the signature is revoked",
  NODATA: "it is not a signed message",
  UNEXPECTED: "it is not a signed message",
  DECRYPTION_INFO: "it is encrypted",
  ENC_TO: "it is encrypted",
};

/**
 * Reads what gpg prints with --status-fd about a message. Exactly one text with exactly one good signature
 * counts; the signer is the fingerprint of the primary key.
 */
export function readGpgStatus(text: string): GpgAnswer {
  const lines = text.split("\n").filter((line) => line.startsWith("[GNUPG:] "));
  const words = lines.map((line) => line.split(" ").slice(1));
  for (const [name = "", ...rest] of words) {
    const refusal = Object.hasOwn(refusals, name) ? refusals[name] : undefined;
    if (refusal !== undefined) return { reason: `${refusal}${keyOf(name, rest)}` };
  }
  const count = (name: string): number => words.filter(([word]) => word === name).length;
  if (count("PLAINTEXT") !== 1) return { reason: "it is not one signed message" };
  if (count("NEWSIG") !== 1 || count("GOODSIG") !== 1 || count("VALIDSIG") !== 1) {
    return { reason: "it does not have exactly one good signature" };
  }
  const valid = words.find(([word]) => word === "VALIDSIG");
  // The signature of a binary document (RFC 9580, 5.2.1): none of a text, whose line ends do not count, nor of a key.
  if (valid?.[9] !== "00") return { reason: "it does not sign a binary document" };
  const signer = valid[10];
  return signer !== undefined && isFingerprint(signer)
    ? { signer }
    : { reason: "gpg does not name its key" };
}

/** The fingerprints of the primary keys that gpg has imported. */
export function importedKeys(text: string): readonly string[] {
  const found = text.matchAll(/^\[GNUPG:\] IMPORT_OK \d+ ([0-9A-F]+)$/gm);
  return [...found].flatMap(([, key = ""]) => (isFingerprint(key) ? [key] : []));
}

function isFingerprint(text: string): boolean {
  return /^[0-9A-F]{32,64}$/.test(text);
}

function keyOf(name: string, [key = ""]: readonly string[]): string {
  return name.endsWith("SIG") && /^[0-9A-F]{8,64}$/.test(key) ? ` (key ${key})` : "";
}
