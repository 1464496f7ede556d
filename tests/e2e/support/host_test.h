// SPDX-License-Identifier: Apache-2.0
//
// The fixture of tests that mount: skips them where that is impossible.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "tests/e2e/support/files.h"
#include "tests/e2e/support/host.h"

namespace airstore::e2e {

class HostTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string missing = WhatIsMissing(); !missing.empty()) GTEST_SKIP() << missing;
    host_ = std::make_unique<Host>(Options());
  }
  virtual HostOptions Options() const { return {}; }
  Host& host() { return *host_; }

 private:
  std::unique_ptr<Host> host_;
};

// With one workspace "work", mounted on mount().
class MountTest : public HostTest {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    mount_ = host().Mount("work", "mnt");
  }
  const std::string& mount() const { return mount_; }
  std::string At(const std::string& name) const { return mount_ + "/" + name; }
  void RemountFresh() { mount_ = host().RemountFresh("work", mount_); }

 private:
  std::string mount_;
};

}  // namespace airstore::e2e
