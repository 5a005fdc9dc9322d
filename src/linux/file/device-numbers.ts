/** The numbers of a device in st_rdev (gnu_dev_major(3) and gnu_dev_minor(3) of glibc). */
export function deviceNumbers(rdev: number | bigint): {
  readonly major: number;
  readonly minor: number;
} {
  const number = BigInt(rdev);
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & 0xffff_f000n);
  const minor = (number & 0xffn) | ((number >> 12n) & 0xffff_ff00n);
  return { major: Number(major), minor: Number(minor) };
}
