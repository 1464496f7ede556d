// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/json_schema.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

namespace airstore::airctl {
namespace {

// What programs were promised: a change of it is to be seen in a review.
TEST(JsonSchema, IsTheOneInTheRepository) {
  std::ifstream file(AIRSTORE_SCHEMA);
  const std::string kept(std::istreambuf_iterator<char>(file), {});
  EXPECT_EQ(kept, JsonSchema() + "\n")
      << "after a change that is meant: airctl schema > " AIRSTORE_SCHEMA;
}

TEST(JsonSchema, EachReferenceLeadsSomewhere) {
  const auto schema = nlohmann::json::parse(JsonSchema());
  size_t references = 0;
  const std::function<void(const nlohmann::json&)> visit = [&](const nlohmann::json& part) {
    if (part.is_object() && part.contains("$ref") && part["$ref"].is_string()) {
      const std::string to = part["$ref"];
      EXPECT_TRUE(schema["$defs"].contains(to.substr(sizeof "#/$defs/" - 1))) << to;
      ++references;
    }
    if (part.is_structured()) {
      for (const auto& below : part) visit(below);
    }
  };
  visit(schema);
  EXPECT_GT(references, 20u);
}

}  // namespace
}  // namespace airstore::airctl
