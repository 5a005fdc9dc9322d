/** Makes an input that fails smaller while it fails in the same way. */

/** Removes parts of the input, then sets bytes to a plain one; at most `tries` runs of `fails`. */
export async function shrink(
  input: Buffer,
  fails: (input: Buffer) => Promise<boolean>,
  tries = 2000,
): Promise<Buffer> {
  let best = input;
  let left = tries;
  const take = async (candidate: Buffer): Promise<boolean> => {
    if (left-- <= 0 || !(await fails(candidate))) return false;
    best = candidate;
    return true;
  };
  for (let size = best.length >> 1; size >= 1 && left > 0; size >>= 1) {
    for (let at = 0; at < best.length && left > 0; ) {
      const without = Buffer.concat([best.subarray(0, at), best.subarray(at + size)]);
      if (!(await take(without))) at += size;
    }
  }
  for (let at = 0; at < best.length && left > 0; at++) {
    if (best[at] === 0x30 || best[at] === 0) continue;
    const plain = Buffer.from(best);
    plain[at] = 0x30;
    await take(plain);
  }
  return best;
}
