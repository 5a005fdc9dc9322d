/**
 * The program that runs Node.js in a process which a test starts without an environment. scripts/test-native.sh
 * names one that loads the runtime of AddressSanitizer, which a variable does elsewhere.
 */
export const nodeProgram = process.env["DAVIT_TEST_NODE"] ?? process.execPath;
