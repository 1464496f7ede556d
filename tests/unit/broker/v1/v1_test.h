// SPDX-License-Identifier: Apache-2.0
//
// A session of the v1 gateway's client with an original gateway in the test's own memory.
// Fails how: as gtest assertions.
#pragma once

#include <gtest/gtest.h>
#include <linux/fs.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "broker/v1/v1_gateway.h"
#include "tests/unit/broker/run_task.h"
#include "tests/unit/broker/temp_dir.h"
#include "tests/unit/broker/v1/original_client.h"

namespace airstore::broker::v1 {

class V1Test : public testing::Test {
 protected:
  void SetUp() override { Connect(); }

  // As a broker that starts: what was in memory is gone.
  OpenedSession Connect(bool first_era = false) {
    original_.first_era = first_era;
    V1Options options;
    options.directory_of = [this](const auto&) { return directory_.path(); };
    options.first_era = first_era;
    options.uid = 7;
    options.gid = 8;
    gateway_ =
        MakeV1Gateway(loop_.get_executor(), std::make_unique<OriginalClient>(&original_), options);
    auto opened = RunTask(loop_, gateway_->Open("work", {1}, false));
    EXPECT_TRUE(opened) << opened.error().ToString();
    return opened ? *opened : OpenedSession();
  }

  ResolveResult Resolve(ResolveItem item) {
    auto answer = RunTask(loop_, gateway_->Resolve(std::vector<ResolveItem>(1, item)));
    if (!answer) {
      ResolveResult failed;
      failed.error = answer.error().code;
      return failed;
    }
    return answer->front();
  }
  ResolveResult Lookup(uint64_t parent, const std::string& name) {
    return Resolve(LookupItem{parent, name, 0});
  }
  ResolveResult Getattr(uint64_t inode) { return Resolve(GetattrItem{inode, 0}); }
  ResolveResult List(uint64_t inode) { return Resolve(ListItem{inode, "", 0, 0}); }
  uint64_t InodeOf(uint64_t parent, const std::string& name) {
    const ResolveResult found = Lookup(parent, name);
    EXPECT_EQ(found.error, 0) << name;
    return found.entry.attr.inode;
  }

  // Under the next number; an error of the call is negative.
  template <typename Op>
  int Apply(Op op, uint64_t if_version = 0) {
    return ApplyAs(next_++, std::move(op), if_version);
  }
  template <typename Op>
  int ApplyAs(uint64_t sequence, Op op, uint64_t if_version = 0) {
    Mutation mutation;
    mutation.sequence = sequence;
    mutation.time_ns = 1'700'000'000'123'456'789;
    if constexpr (requires { op.inode; }) {
      mutation.if_inode = if_version == 0 ? 0 : op.inode;
      mutation.if_content_version = if_version;
    }
    mutation.op = std::move(op);
    auto batch = std::make_shared<std::vector<Mutation>>(1, std::move(mutation));
    auto answer = RunTask(loop_, gateway_->Apply(batch, {}));
    if (!answer) return -answer.error().code;
    version_ = answer->front().content_version;
    return answer->front().error;
  }

  uint64_t NewInode() { return RunTask(loop_, gateway_->AllocateInodes(1))->first; }
  uint64_t Create(uint64_t parent, const std::string& name, uint32_t mode = S_IFREG | 0644) {
    const uint64_t inode = NewInode();
    EXPECT_EQ(Apply(CreateOp{.parent = parent,
                             .name = name,
                             .inode = inode,
                             .mode = mode,
                             .symlink_target = S_ISLNK(mode) ? "target" : "",
                             .xattrs = {}}),
              0)
        << name;
    return inode;
  }
  static WriteOp Bytes(uint64_t inode, uint64_t offset, const std::string& data,
                       std::optional<uint64_t> size = {}) {
    WriteOp op;
    op.inode = inode;
    op.size = size;
    op.extents.push_back(WriteExtent{.offset = offset, .length = data.size(), .source = data});
    return op;
  }
  int Rename(uint64_t from, const std::string& name, uint64_t to, const std::string& new_name,
             uint32_t flags = 0) {
    return Apply(RenameOp{.old_parent = from,
                          .old_name = name,
                          .new_parent = to,
                          .new_name = new_name,
                          .flags = flags});
  }
  int Unlink(uint64_t parent, const std::string& name, bool directory = false) {
    return Apply(UnlinkOp{.parent = parent, .name = name, .directory = directory});
  }
  std::string Data(const std::string& path) { return original_.objects[path].data; }
  void Put(const std::string& path, const std::string& data, uint32_t mode = S_IFREG | 0644) {
    original_.objects[path] = original::Object{data, mode, original_.now_s, ""};
  }

  static constexpr uint64_t kTop = 1;
  TempDir directory_;
  original::Gateway original_;
  boost::asio::io_context loop_{1};
  std::unique_ptr<Gateway> gateway_;
  uint64_t next_ = 1;
  uint64_t version_ = 0;  // that the last change told
};

}  // namespace airstore::broker::v1
