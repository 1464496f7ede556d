// SPDX-License-Identifier: Apache-2.0
//
// What the gateway's v1 services are told by others: mails, paths, and MCP servers with their
// schemas. Whatever it is, the answer is text that can be sent on, and obeys the rules it claims
// to.
#include <cstdio>
#include <cstdlib>

#include "tools/gateway/sources/mail_headers.h"
#include "tools/gateway/sources/provider.h"
#include "tools/gateway/sources/strip.h"
#include "tools/gateway/tools/arguments.h"
#include "tools/gateway/v1/paths.h"

namespace {

using namespace airstore::gateway;  // NOLINT: a program of its own

#define REQUIRE(condition)                         \
  do {                                             \
    if (!(condition)) {                            \
      fprintf(stderr, "broken: %s\n", #condition); \
      abort();                                     \
    }                                              \
  } while (0)

void Mail(std::string_view text) {
  const MailHeaders headers = ParseMailHeaders(text);
  REQUIRE(v1::IsUtf8(headers.from));
  REQUIRE(v1::IsUtf8(headers.subject));
  const std::string name = NamePart(text, 100);
  REQUIRE(v1::IsUtf8(name));
  REQUIRE(name.size() <= 100 && name.find('/') == std::string::npos);
  (void)ParseDay(std::string(text));
}

void Shorter(std::string_view text) {
  // Nothing is added but a line about what was left out, and where a last line was not ended.
  REQUIRE(Strip(text).size() <= text.size() + 64);
}

void Path(std::string_view text) {
  const auto parts = v1::SplitPath(text);
  if (!parts) return;
  for (const std::string_view part : *parts) {
    REQUIRE(!part.empty() && part.size() <= 255 && part != "." && part != "..");
    REQUIRE(part.find('/') == std::string_view::npos);
  }
}

// A schema, a line, and arguments, a line each.
void Arguments(std::string_view text) {
  const size_t end = text.find('\n');
  const nlohmann::json schema = nlohmann::json::parse(text.substr(0, end), nullptr, false);
  if (schema.is_discarded()) return;
  (void)DescribeArguments(schema);
  std::vector<std::string> arguments;
  while (!text.empty()) {
    const size_t line = std::min(text.find('\n'), text.size());
    arguments.emplace_back(text.substr(0, line));
    text.remove_prefix(std::min(line + 1, text.size()));
  }
  arguments.erase(arguments.begin());
  const auto parsed = ParseArguments(schema, arguments);
  REQUIRE(!parsed || parsed->is_object());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      Mail(text);
      break;
    case 1:
      // Where encoded words and dates are looked for.
      Mail("Subject: =?utf-8?q?" + std::string(text));
      Mail("Date: " + std::string(text));
      Shorter(text);
      Shorter("From: a\n\n<html>" + std::string(text));
      break;
    case 2:
      Path(text);
      break;
    default:
      Arguments(text);
      Arguments(R"({"properties": {"a": {"type": "integer"}, "b": {"type": "array"}}})"
                "\n" +
                std::string(text));
      break;
  }
  return 0;
}
