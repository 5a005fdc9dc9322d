/** What a policy needs of the node. */
export interface PolicyNeeds {
  /** Keys and certificates. */
  readonly files: readonly string[];
  readonly programs: readonly string[];
}

/**
 * What a containers-policy.json(5) needs; undefined for one that accepts every image. Rejects with
 * `failed-precondition` for one that cannot be used.
 */
export async function needsOfPolicy(text: string, path: string): Promise<PolicyNeeds | undefined> {
  const { acceptsAnything, keyFilesOf, parsePolicy, programsOf } = await import(
    "./policy-json/index.ts"
  );
  const policy = parsePolicy(text, path);
  if (acceptsAnything(policy)) return undefined;
  return { files: keyFilesOf(policy), programs: programsOf(policy) };
}
