// SPDX-License-Identifier: Apache-2.0
//
// A strict reader of Prometheus' text format: what it does not complain about, Prometheus takes.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace airstore {

struct MetricsRead {
  std::map<std::string, double> samples;  // by name and labels, as they stand there
  std::map<std::string, std::string> types;
  std::vector<std::string> complaints;
};

inline MetricsRead ReadMetrics(const std::string& text) {
  MetricsRead out;
  std::istringstream lines(text);
  std::string family;
  std::set<std::string> helped, closed;
  std::map<std::string, double> last_bucket;  // by series without le
  const auto complain = [&](const std::string& what, const std::string& line) {
    out.complaints.push_back(what + ": " + line);
  };
  if (text.empty() || text.back() != '\n') out.complaints.push_back("does not end with a newline");
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("# ", 0) == 0) {
      std::istringstream words(line.substr(2));
      std::string kind, name, rest;
      words >> kind >> name;
      std::getline(words, rest);
      if (name != family) {
        if (!closed.insert(name).second) complain("a family in two places", line);
        family = name;
      }
      if (rest.size() < 2) complain("nothing behind the name", line);
      if (kind == "HELP") {
        helped.insert(name);
      } else if (kind == "TYPE") {
        out.types[name] = rest.substr(1);
        const bool total = name.size() > 6 && name.substr(name.size() - 6) == "_total";
        if ((rest == " counter") != total) complain("counters end in _total, others do not", line);
      } else {
        complain("unknown comment", line);
      }
      continue;
    }
    const size_t open = line.find('{');
    const size_t close = line.rfind('}');
    const size_t space = line.rfind(' ');
    const std::string name = line.substr(0, std::min(open, space));
    const std::string series = line.substr(0, space);
    const std::string labels = open == std::string::npos ? "" : line.substr(open, close - open + 1);
    if (name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") != std::string::npos) {
      complain("not a name", line);
    }
    const std::string suffix = name.size() > family.size() ? name.substr(family.size()) : "";
    const std::string type = out.types[family];
    const bool belongs =
        name.rfind(family, 0) == 0 &&
        (type == "histogram" ? suffix == "_bucket" || suffix == "_sum" || suffix == "_count"
                             : suffix.empty());
    if (!belongs || type.empty() || !helped.contains(family)) complain("out of place", line);
    double value = 0;
    try {
      size_t used = 0;
      value = std::stod(line.substr(space + 1), &used);
      if (used != line.size() - space - 1) complain("not a number", line);
    } catch (const std::exception&) {
      complain("not a number", line);
    }
    if (!out.samples.emplace(series, value).second) complain("twice", line);
    if (suffix == "_bucket") {
      const std::string apart = series.substr(0, series.find("le=\""));
      const auto [at, first] = last_bucket.try_emplace(apart, value);
      if (!first && value < at->second) complain("buckets go down", line);
      at->second = value;
    }
  }
  return out;
}

}  // namespace airstore
