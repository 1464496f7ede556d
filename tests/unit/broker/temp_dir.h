// SPDX-License-Identifier: Apache-2.0
//
// A directory for one test, removed with all that is in it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace airstore {

class TempDir {
 public:
  // `parent`: where; /tmp when that is not there.
  explicit TempDir(const std::string& parent = "/tmp") {
    const bool there = std::filesystem::is_directory(parent);
    std::string pattern = (there ? parent : "/tmp") + "/airstore-test-XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(*this / name) << text;
    return *this / name;
  }

 private:
  std::string path_;
};

}  // namespace airstore
