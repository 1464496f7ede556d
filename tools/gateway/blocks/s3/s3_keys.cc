// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/blocks/s3/s3_keys.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace airstore::gateway {
namespace {

std::string FromEnvironment(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

}  // namespace

Result<S3Keys> ParseS3Keys(std::string_view text, std::string_view profile) {
  S3Keys keys;
  bool inside = false;
  bool found = false;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = Trim(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[' && line.back() == ']') {
      inside = Trim(line.substr(1, line.size() - 2)) == profile;
      found = found || inside;
      continue;
    }
    const size_t equals = line.find('=');
    if (!inside || equals == std::string_view::npos) continue;
    const std::string_view name = Trim(line.substr(0, equals));
    const std::string value(Trim(line.substr(equals + 1)));
    if (name == "aws_access_key_id") keys.access_key = value;
    if (name == "aws_secret_access_key") keys.secret_key = value;
    if (name == "aws_session_token") keys.session_token = value;
  }
  if (!found) return Error{ENOENT, "no profile '" + std::string(profile) + "'"};
  if (keys.access_key.empty() || keys.secret_key.empty()) {
    return Error{EINVAL, "profile '" + std::string(profile) +
                             "' needs aws_access_key_id and aws_secret_access_key"};
  }
  return keys;
}

Result<S3Keys> FindS3Keys(const std::string& file, const std::string& profile) {
  if (file.empty() && profile.empty()) {
    S3Keys keys{FromEnvironment("AWS_ACCESS_KEY_ID"), FromEnvironment("AWS_SECRET_ACCESS_KEY"),
                FromEnvironment("AWS_SESSION_TOKEN")};
    if (!keys.access_key.empty() && !keys.secret_key.empty()) return keys;
  }
  std::string path = file.empty() ? FromEnvironment("AWS_SHARED_CREDENTIALS_FILE") : file;
  if (path.empty()) path = FromEnvironment("HOME") + "/.aws/credentials";
  std::string of = profile.empty() ? FromEnvironment("AWS_PROFILE") : profile;
  if (of.empty()) of = "default";
  std::ifstream in(path);
  if (!in) {
    return SysError("keys for S3: neither AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY nor " +
                    path);
  }
  std::ostringstream text;
  text << in.rdbuf();
  auto keys = ParseS3Keys(text.str(), of);
  if (!keys) return Error{keys.error().code, path + ": " + keys.error().message};
  return keys;
}

}  // namespace airstore::gateway
