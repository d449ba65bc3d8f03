# SPDX-License-Identifier: Apache-2.0
"""Install vpr_ros as a ROS 2 package. Dependencies: package.xml (rosdep), requirements/ (pip)."""

from glob import glob

from setuptools import find_packages, setup

PACKAGE = 'vpr_ros'
SHARE = f'share/{PACKAGE}'

setup(
    name=PACKAGE,
    version='0.1.0',
    description='Visual place recognition for ROS 2',
    license='Apache-2.0',
    author='vpr_ros maintainers',
    author_email='maintainers@vpr-ros.dev',
    maintainer='vpr_ros maintainers',
    maintainer_email='maintainers@vpr-ros.dev',
    python_requires='>=3.10',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),  # the runtime; never training
    package_data={PACKAGE: ['py.typed'], f'{PACKAGE}.evaluation': ['page/*']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (SHARE, ['package.xml']),
        (f'{SHARE}/config', glob('config/*.yaml') + glob('config/*.rviz')),
        (f'{SHARE}/launch', glob('launch/*.launch.py')),
        (f'{SHARE}/models', glob('models/*.onnx') + glob('models/*.md')),
    ],
    install_requires=['setuptools'],
    extras_require={'test': ['pytest']},  # by this colcon knows what to test with
    zip_safe=False,
    entry_points={
        'console_scripts': [
            'closure_recorder = vpr_ros.adapters.recorder_node:main',
            'initial_pose = vpr_ros.adapters.initial_pose_node:main',
            'localizer = vpr_ros.node:main',
            'pose_graph = vpr_ros.pose_graph_node:main',
            'rtabmap_links = vpr_ros.adapters.rtabmap_node:main',
            'vpr = vpr_ros.cli:main',
        ],
    },
)
