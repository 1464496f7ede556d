// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/aging.h"

namespace airstore::broker::v1 {
namespace {

// What is told within this part of the age goes together, with the first of it.
constexpr int kBatchesOfAnAge = 4;

}  // namespace

class Aging::Stream final : public WatchStream {
 public:
  explicit Stream(Aging* aging) : aging_(aging) {}

  Task<Result<WatchEvent>> Next() override {
    while (!cancelled_) {
      auto& batches = aging_->batches_;
      const auto now = Clock::now();
      const auto due =
          batches.empty() ? Clock::time_point::max() : batches.front().begun + aging_->age_;
      if (due <= now) {
        const Batch batch = std::move(batches.front());
        batches.pop_front();
        WatchEvent event;
        event.cursor = ++aging_->cursor_;
        event.aged = true;
        event.inodes.assign(batch.inodes.begin(), batch.inodes.end());
        event.directories.assign(batch.directories.begin(), batch.directories.end());
        co_return event;
      }
      aging_->timer_.expires_at(due);
      boost::system::error_code ignored;
      co_await aging_->timer_.async_wait(
          boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    }
    co_return Error{ECANCELED, "watch"};
  }

  void Cancel() override {
    cancelled_ = true;
    aging_->timer_.cancel();
  }

 private:
  Aging* aging_;
  bool cancelled_ = false;
};

Aging::Aging(boost::asio::any_io_executor executor, std::chrono::milliseconds age)
    : age_(age), timer_(executor) {}

std::unique_ptr<WatchStream> Aging::Watch() { return std::make_unique<Stream>(this); }

Aging::Batch& Aging::Current() {
  const auto now = Clock::now();
  if (batches_.empty() || now - batches_.back().begun > age_ / kBatchesOfAnAge) {
    const bool first = batches_.empty();
    batches_.push_back(Batch{now, {}, {}});
    if (first) timer_.cancel();
  }
  return batches_.back();
}

}  // namespace airstore::broker::v1
