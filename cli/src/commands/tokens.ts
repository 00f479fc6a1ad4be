/**
 * `kvault tokens`: how many tokens a text or a question has.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import type { Command } from "commander";
import { withGateway } from "../gateway-client.ts";
import { type ConnectionFlags, modelOption, type TextFlags, withConnectionFlags, withTextFlags } from "../options.ts";
import { readText } from "../sources/read-text.ts";
import { formatCount } from "../terminal/units.ts";
import { define, type Host, runs } from "./command.ts";

interface TokensOptions extends ConnectionFlags, TextFlags {
  readonly question?: string;
  readonly model: string;
}

export function addTokens(program: Command, host: Host): void {
  const tokens = define(program, {
    usage: "tokens",
    summary: "Count the tokens of a text or a question",
    description: "As the model counts them, template included: a worker's engine does it, nothing is stored.",
    examples: [
      ["kvault tokens --file contract.txt", "of a text, and how many the model can read"],
      ["kvault tokens --file src/ --file README.md", "of a code base and a page, together"],
      ['kvault tokens --question "Who signed it?" --json', "of a question"],
    ],
  })
    .option("-q, --question <text>", "a question")
    .addOption(modelOption());
  withConnectionFlags(withTextFlags(tokens));
  runs<TokensOptions>(tokens, host, async ({ terminal, signal }, options) => {
    const { file, question = "", model } = options;
    if (file === undefined && question === "")
      throw invalidArgument("file", "Cannot count tokens: name a --file or a --question");
    const content = file === undefined ? {} : { content: { text: (await readText(options, { terminal, signal })).text } };
    await withGateway(options, async (client) => {
      const counted = await client.countTokens({ model, question, ...content }, { signal });
      const { contextTokens, prefixTokens, questionTokens, maxTokens } = counted;
      terminal.result({ model, contextTokens, prefixTokens, questionTokens, maxTokens }, () =>
        [
          ...(file === undefined ? [] : [`text      ${formatCount(contextTokens)} tokens, and ${prefixTokens} of the template`]),
          ...(question === "" ? [] : [`question  ${formatCount(questionTokens)} tokens`]),
          `${model} reads ${formatCount(maxTokens)}`,
        ].join("\n"),
      );
    });
  });
}
