// What the compiler cannot see. Style of layout is biome's business, direction of imports
// dependency-cruiser's.
import tseslint from "typescript-eslint";

const tests = ["**/*.test.ts", "**/testing/**", "test/**", "bench/**"];

// describe() and test() of node:test return promises that the runner itself awaits.
const awaitedByRunner = {
  from: "package",
  package: "node:test",
  name: ["test", "it", "describe", "suite"],
};

export default tseslint.config(
  {
    ignores: ["src/gen/**", "**/dist/**", "**/node_modules/**", "native/build/**", "bench/out/**"],
  },
  {
    files: ["**/*.ts", "**/*.tsx"],
    extends: [...tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "@typescript-eslint/switch-exhaustiveness-check": "error",
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/explicit-module-boundary-types": "error",
      "@typescript-eslint/no-floating-promises": [
        "error",
        { allowForKnownSafeCalls: [awaitedByRunner] },
      ],
      "@typescript-eslint/no-unused-vars": [
        "error",
        { ignoreUsingDeclarations: true, argsIgnorePattern: "^_", varsIgnorePattern: "^_" },
      ],
      // Numbers and bigints print as one expects; objects and undefined do not.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "@typescript-eslint/no-unnecessary-condition": [
        "error",
        { allowConstantLoopConditions: "only-allowed-literals" },
      ],
      "no-console": "error",
      "max-lines": ["error", { max: 500, skipBlankLines: true, skipComments: true }],
      "max-lines-per-function": ["error", { max: 80, skipBlankLines: true, skipComments: true }],
      complexity: ["error", 15],
    },
  },
  {
    files: ["src/**"],
    ignores: [...tests, "src/wire/protobuf.ts"],
    rules: {
      "no-restricted-imports": [
        "error",
        {
          paths: [
            {
              name: "@bufbuild/protobuf",
              importNames: ["fromBinary", "mergeFromBinary"],
              message: "Decode with src/wire/protobuf.ts, which drops unknown fields.",
            },
          ],
        },
      ],
    },
  },
  {
    files: tests,
    rules: {
      // A describe() is one function, and a suite one file, however many cases they hold.
      "max-lines": "off",
      "max-lines-per-function": "off",
      // Fakes keep the promise of an interface without having anything to wait for.
      "@typescript-eslint/require-await": "off",
    },
  },
  { files: ["test/**", "bench/**", "scripts/**", "examples/**"], rules: { "no-console": "off" } },
);
