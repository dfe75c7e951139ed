// An operator new that counts, and fails when told to.
#ifndef HWNAS_TESTS_COUNTING_NEW_HPP_
#define HWNAS_TESTS_COUNTING_NEW_HPP_

namespace counting {

constexpr long kNever = -1;

long allocations();           // so far, in all threads
void fail_after(long count);  // the next `count` succeed, then one fails; kNever: none fails
bool has_failed();            // since the last fail_after

}  // namespace counting

#endif  // HWNAS_TESTS_COUNTING_NEW_HPP_
