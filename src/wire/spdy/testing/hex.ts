/** The bytes of hexadecimal digits; white space between them is ignored. */
export function hex(text: string): Buffer {
  return Buffer.from(text.replace(/\s/g, ""), "hex");
}
